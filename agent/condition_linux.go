package agent

import (
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"
)

// condition is what a step inherits from its keeper and what one can change in it from outside: a step has the same user.
// The rest of what is inherited (directory, mask, environment, signals) only the keeper could change, and it does not.
type condition struct {
	limits   [unix.RLIMIT_RTTIME + 1]unix.Rlimit
	turn     turn
	mixed    bool // not all threads have the same turn
	place    [256]byte
	adjusted [16]byte // oom_score_adj
	free     int      // the lowest descriptor that is free
}

// turn is how a thread gets its turn at what many want. Which of its threads starts a step, a keeper does not know.
type turn struct {
	schedule unix.SchedAttr
	cores    unix.CPUSet
	disk     uintptr
}

// vitals reads the condition of this process.
type vitals struct {
	link            int
	threads         int // a directory of /proc, kept open, as are the files
	place, adjusted int
	served          int
	memory          int64 // KiB, the most at the start
}

const (
	// keeperSteps is after how many steps a keeper is replaced, so that whatever may gather in it does not for ever.
	keeperSteps = 10_000
	// memoryGrowth is how many KiB a keeper may have grown; a job of the largest size needs a fraction of it.
	memoryGrowth = 64 << 10
)

func (v *vitals) open(link int) error {
	v.link = link
	// A kernel without one of them gives no descriptor, from which then nothing is read.
	v.place, _ = unix.Open("/proc/self/cgroup", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	v.adjusted, _ = unix.Open("/proc/self/oom_score_adj", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	v.memory = mostMemory()
	var err error
	if v.threads, err = unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECTORY, 0); err != nil {
		return fmt.Errorf("open /proc/self/task: %w", err)
	}
	return nil
}

func (v *vitals) condition() (c condition, err error) {
	for i := range c.limits {
		if err := unix.Prlimit(0, i, nil, &c.limits[i]); err != nil {
			return c, fmt.Errorf("read limit %d: %w", i, err)
		}
	}
	if err := v.turns(&c); err != nil {
		return c, err
	}
	_, _ = unix.Pread(v.place, c.place[:], 0)
	_, _ = unix.Pread(v.adjusted, c.adjusted[:], 0)
	if c.free, err = unix.FcntlInt(uintptr(v.link), unix.F_DUPFD_CLOEXEC, 0); err != nil {
		return c, fmt.Errorf("look for a free descriptor: %w", err)
	}
	return c, unix.Close(c.free)
}

// turns reads those of all threads.
func (v *vitals) turns(c *condition) error {
	if _, err := unix.Seek(v.threads, 0, io.SeekStart); err != nil {
		return fmt.Errorf("list the threads: %w", err)
	}
	buffer := make([]byte, 4<<10) // room for some 150; a keeper has ten
	n, err := unix.ReadDirent(v.threads, buffer)
	if err != nil {
		return fmt.Errorf("list the threads: %w", err)
	}
	_, _, names := unix.ParseDirent(buffer[:n], -1, nil)
	for i, name := range names {
		thread, err := strconv.Atoi(name)
		if err != nil {
			return fmt.Errorf("list the threads: %w", err)
		}
		switch now, err := turnOf(thread); {
		case err != nil:
			return err
		case i == 0:
			c.turn = now
		default:
			c.mixed = c.mixed || now != c.turn
		}
	}
	return nil
}

func turnOf(thread int) (t turn, err error) {
	schedule, err := unix.SchedGetAttr(thread, 0)
	if err != nil {
		return t, fmt.Errorf("read the scheduling: %w", err)
	}
	t.schedule = *schedule
	if err := unix.SchedGetaffinity(thread, &t.cores); err != nil {
		return t, fmt.Errorf("read the affinity: %w", err)
	}
	const ofThread = 1
	t.disk, _, _ = unix.RawSyscall(unix.SYS_IOPRIO_GET, ofThread, uintptr(thread), 0)
	return t, nil
}

// wear says why a keeper that was in this condition at its start should serve no other step; nothing if it may.
func (v *vitals) wear(fresh condition) string {
	v.served++
	now, err := v.condition()
	switch {
	case err != nil:
		return err.Error()
	case now.free != fresh.free:
		return "it has kept descriptors"
	case now != fresh:
		return "its limits were changed"
	case mostMemory() > v.memory+memoryGrowth:
		return "it has grown"
	case v.served >= keeperSteps:
		return "it has served long enough"
	}
	return ""
}

// mostMemory is how many KiB this process has occupied at most.
func mostMemory() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return int64(usage.Maxrss) //nolint:unconvert // int32 on some machines
}
