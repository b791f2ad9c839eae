package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cell is where the programs of one task run. It travels to the keeper that starts them.
type Cell struct {
	Level  Level    `json:"level"`
	Task   string   `json:"task"`             // the task's directory, for the agent; the task finds it at Home
	UID    int      `json:"uid,omitempty"`    // of the task, and its group; 0 is whoever starts it
	Hide   []string `json:"hide,omitempty"`   // directories of the agent, which may be where a task could look
	Bubble string   `json:"bubble,omitempty"` // the path of bubblewrap
	Relay  string   `json:"relay,omitempty"`  // the program that answers RelayCommand
	Group  *Group   `json:"group,omitempty"`
	Limits Limits   `json:"limits,omitzero"`
	Watch  Limits   `json:"watch,omitzero"` // what nothing but the keeper's eye bounds
}

// Program is what runs in a cell.
type Program struct {
	Argv  []string
	Dir   string
	Env   []string
	Files []uintptr // 0, 1 and 2
}

// Started is a program that runs, or has run, in a cell.
type Started struct {
	Pid   int
	PidFD int // negative on a kernel without

	before counts
	cell   *Cell
	ends   chan struct{} // closed to end the thread that started it
	ended  chan struct{}
}

// Start starts a program. Release must be called once it has ended.
//
// What no attribute of a fork can say, such as the mounts that it sees, the program inherits from the thread that forks it:
// that one is made for the purpose, and ends with the program, since the kernel tells it by the thread's end that its
// parent is gone.
func (c *Cell) Start(p Program) (*Started, error) {
	s := &Started{PidFD: -1, cell: c, before: c.Group.hits(), ends: make(chan struct{}), ended: make(chan struct{})}
	if !c.private() && (c.Group == nil || len(c.Group.Separate) == 0) {
		close(s.ended)
		err := c.fork(p, s)
		return s, err
	}
	result := make(chan error)
	onOwnThread(func() {
		defer close(s.ended)
		err := c.enter()
		if err == nil {
			err = c.fork(p, s)
		}
		result <- err
		if err == nil {
			<-s.ends
		}
	})
	return s, <-result
}

// onOwnThread does something on a thread that ends with it. The main thread never ends, whatever was locked to it, so it is
// held until another one has begun.
func onOwnThread(do func()) {
	go func() {
		runtime.LockOSThread() // and unlocked on the main thread only
		if unix.Gettid() != os.Getpid() {
			do()
			return
		}
		began := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(began)
			do()
		}()
		<-began
		runtime.UnlockOSThread()
	}()
}

// Release ends the thread that started the program. It returns before the thread is gone.
func (s *Started) Release() {
	close(s.ends)
	<-s.ended
}

// Broke says which limit the program hit, if any.
func (s *Started) Broke() string {
	now := s.cell.Group.hits()
	switch {
	case now.memory > s.before.memory:
		return BrokeMemory
	case now.processes > s.before.processes:
		return BrokeProcesses
	}
	return ""
}

// private says whether the task has a user, and so mounts, of its own.
func (c *Cell) private() bool { return c.Level >= S1 && c.UID != 0 }

// enter makes of this thread one from which the task's programs can be forked.
func (c *Cell) enter() error {
	if c.Group != nil {
		for _, dir := range c.Group.Separate {
			if err := write(filepath.Join(dir, "tasks"), fmt.Sprint(unix.Gettid())); err != nil {
				return fmt.Errorf("enter a cgroup: %w", err)
			}
		}
	}
	if !c.private() {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := c.mount(); err != nil {
		return err
	}
	// A keyring of the session would let the task use the agent's keys.
	if _, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0); err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("make a session keyring: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	return nil
}

// mount puts the task's directory at Home, and its own tmp in the place of everybody's.
func (c *Cell) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := bind(c.Task, Home); err != nil {
		return err
	}
	if c.Relay != "" {
		if err := bind(c.Relay, relayPlace); err != nil { // before /tmp hides it
			return err
		}
	}
	for _, at := range []string{"/tmp", "/var/tmp"} {
		if err := bind(filepath.Join(Home, "tmp"), at); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if err := bind(filepath.Join(Home, passwdName), "/etc/passwd"); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	if err := unix.Mount("otto", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	return nil
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", to, err)
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("mount %s without privileges: %w", to, err)
	}
	return nil
}

// fork starts the program from this thread.
func (c *Cell) fork(p Program, s *Started) error {
	attributes := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, PidFD: &s.PidFD}
	if c.private() {
		id := uint32(c.UID)
		attributes.Credential = &syscall.Credential{Uid: id, Gid: id, Groups: []uint32{}}
	}
	if c.Group != nil {
		group, err := unix.Open(c.Group.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the cgroup: %w", err)
		}
		defer unix.Close(group)
		attributes.UseCgroupFD, attributes.CgroupFD = true, group
	}
	if c.Level >= S2 {
		boxed, err := c.box(p)
		defer boxed.close()
		if err != nil {
			return err
		}
		p = boxed.Program
	}
	restore, err := c.lower()
	if err != nil {
		return err
	}
	pid, err := syscall.ForkExec(p.Argv[0], p.Argv, &syscall.ProcAttr{Dir: p.Dir, Env: p.Env, Files: p.Files, Sys: attributes})
	restore()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Argv[0], err)
	}
	s.Pid = pid
	return c.limit(pid)
}

// rlimits are the bounds that the kernel keeps for each process by itself.
func (c *Cell) rlimits() map[int]uint64 {
	out := map[int]uint64{}
	if c.Limits.OpenFiles > 0 {
		out[unix.RLIMIT_NOFILE] = uint64(c.Limits.OpenFiles)
	}
	if c.Limits.FileBytes > 0 {
		out[unix.RLIMIT_FSIZE] = uint64(c.Limits.FileBytes)
	}
	return out
}

// Lowers says whether whoever starts a program lowers limits of its own for it, and so should start no other.
func (c *Cell) Lowers() bool { return len(c.rlimits()) > 0 }

// lower lowers our own limits for as long as the program is forked, which inherits them. To raise what is lowered for good
// would take a privilege.
func (c *Cell) lower() (restore func(), err error) {
	before := map[int]unix.Rlimit{}
	restore = func() {
		for resource, was := range before {
			_ = unix.Setrlimit(resource, &was) // it was allowed before
		}
	}
	for resource, value := range c.rlimits() {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			restore()
			return nil, fmt.Errorf("limit the step: %w", err)
		}
		before[resource] = now
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: min(value, now.Max), Max: now.Max}); err != nil {
			restore()
			return nil, fmt.Errorf("limit the step: %w", err)
		}
	}
	return restore, nil
}

// limit sets what the kernel bounds for each process by itself. The program, which has just begun, inherits it to all others.
func (c *Cell) limit(pid int) error {
	for resource, value := range c.rlimits() {
		bound := unix.Rlimit{Cur: value, Max: value}
		// Without the privilege to change others' limits the program could raise its own again, up to what we have.
		if err := unix.Prlimit(pid, resource, &bound, nil); err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EPERM) {
			return errors.Join(fmt.Errorf("limit the step: %w", err), unix.Kill(pid, unix.SIGKILL))
		}
	}
	if c.Watch.CPU > 0 { // nothing shares out time, so it gets fewer cores
		var cores unix.CPUSet
		if err := unix.SchedGetaffinity(0, &cores); err != nil {
			return fmt.Errorf("limit the step: %w", err)
		}
		left := max(1, int(c.Watch.CPU))
		for i := range 1024 {
			if cores.IsSet(i) {
				if left--; left < 0 {
					cores.Clear(i)
				}
			}
		}
		if err := unix.SchedSetaffinity(pid, &cores); err != nil && !errors.Is(err, unix.ESRCH) {
			return errors.Join(fmt.Errorf("limit the step: %w", err), unix.Kill(pid, unix.SIGKILL))
		}
	}
	return nil
}

// End ends whatever runs in the cell, and what the cell took from the machine.
func (c *Cell) End() error {
	if c.Group == nil {
		return nil
	}
	return c.Group.Remove()
}
