package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperPatience is how long the agent waits for a keeper beyond what it was ordered.
const keeperPatience = sweepLimit + 5*time.Second

// ownProcess prepares the agent's process: nothing may read its memory, where the credential is, and what a step orphans
// by killing its keeper comes to the agent.
func ownProcess() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("make the agent undumpable: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("make the agent a subreaper: %w", err)
	}
	return nil
}

// keeperAttributes detach a keeper from the agent's terminal, and tell it when the agent dies.
func keeperAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
}

// wardenAttributes detach the warden as well. It is told of the agent's death by the end of its input, and outlives it.
func wardenAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// socketPair gives two connected sockets. The first belongs to Go's poller, so that deadlines work on it.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "keeper"), os.NewFile(uintptr(fds[1]), "agent"), nil
}

// outputPipe gives the two ends of a pipe. Only the first belongs to Go's poller: the other is for somebody else.
func outputPipe() (ours, theirs *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "output"), os.NewFile(uintptr(fds[1]), "output"), nil
}

// sendFiles writes to a socket and sends descriptors along. It gives how much it has written: all, unless that is much.
func sendFiles(link *os.File, line []byte, files []*os.File) (n int, err error) {
	raw, err := link.SyscallConn()
	if err != nil {
		return 0, err
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	rights := unix.UnixRights(fds...)
	waited := raw.Write(func(fd uintptr) bool {
		n, err = unix.SendmsgN(int(fd), line, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	return n, errors.Join(waited, err)
}

// waits says whether a keeper still waits for a job: the socket of one that is gone has ended.
func (k *attendant) waits() (alive bool) {
	onDescriptor(k.link, func(fd int) {
		_, _, err := unix.Recvfrom(fd, make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		alive = err == unix.EAGAIN
	})
	return alive
}

// wake continues a keeper that somebody has stopped: its step, or another while it waited.
func (k *attendant) wake() { _ = k.cmd.Process.Signal(unix.SIGCONT) }

// keepers knows which children of the agent are keepers: any other one is the orphan of a keeper that was killed.
type keepers struct {
	adopt bool

	mu    sync.Mutex // held while a keeper starts: until it is noted it looks like an orphan
	alive map[int]bool
}

func (k *keepers) start(cmd *exec.Cmd) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	if k.alive == nil {
		k.alive = map[int]bool{}
	}
	k.alive[cmd.Process.Pid] = true
	return nil
}

// ended notes that a keeper is gone, kills what it left behind, and says what that was. A keeper leaves something only if
// it was killed.
func (k *keepers) ended(cmd *exec.Cmd) (killed []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.alive, cmd.Process.Pid)
	if !k.adopt {
		return nil
	}
	for _, p := range k.orphans() {
		killed = append(killed, p.String())
	}
	sweep(k.orphans, func() bool { return len(k.orphans()) == 0 })
	return killed
}

// forget notes that a keeper is gone which had no step.
func (k *keepers) forget(cmd *exec.Cmd) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.alive, cmd.Process.Pid)
}

// orphans gives the processes below the agent that are below no living keeper, and reaps those that have ended.
func (k *keepers) orphans() []proc {
	self := os.Getpid()
	roots := map[int]bool{}
	var out []proc
	for _, p := range processes() {
		if p.parent != self || k.alive[p.pid] {
			continue
		}
		roots[p.pid] = true
		if p.zombie {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG, nil)
			continue
		}
		out = append(out, p)
	}
	if len(roots) == 0 {
		return nil
	}
	return append(out, descendants(func(p proc) bool { return roots[p.pid] })...)
}

// memoryBytes is the host's memory.
func memoryBytes() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit) //nolint:gosec // far below 2^63
}

// punchHole gives the file's space before offset back to the disk. Not every file system can; then it is freed later.
func punchHole(f *os.File, offset int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, offset)
}

// lockFile takes a file for this process alone, or fails at once.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func unlockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) }

// signalName is such as SIGKILL.
func signalName(n int) string { return unix.SignalName(syscall.Signal(n)) }

// pipeCapacity is how many bytes a pipe can hold; a step can change it.
func pipeCapacity(f *os.File) (n int) {
	onDescriptor(f, func(fd int) { n, _ = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0) })
	return n
}

// readNow reads from a pipe without waiting. It gives 0 or less when there is nothing, now or ever.
func readNow(f *os.File, buffer []byte) (n int) {
	onDescriptor(f, func(fd int) {
		for {
			var err error
			if n, err = unix.Read(fd, buffer); err != unix.EINTR {
				return
			}
		}
	})
	return n
}

// onDescriptor does something with a descriptor that stays in Go's poller, unlike with File.Fd.
func onDescriptor(f *os.File, do func(fd int)) {
	if raw, err := f.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { do(int(fd)) })
	}
}
