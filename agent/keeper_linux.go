package agent

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeper is the process between the agent and a step. It is the subreaper of everything the step starts: whatever
// daemonises, starts a session of its own or loses its parent becomes the keeper's child, so that "no child is left"
// means "nothing of the step is left". It outlives a kill -9 of the agent just long enough to kill the step.
type keeper struct {
	link   *os.File // to the agent; its end means that the agent is gone
	agent  int      // pid
	orders chan order
	report ending

	main   int
	status unix.WaitStatus
	ended  chan struct{} // closed once the main process has ended and status is set
	empty  chan struct{} // closed once no process is left
}

// keeperLink is the descriptor of the socket to the agent.
const keeperLink = 3

// settle is how long the processes that a step leaves behind may take to end by themselves before they are killed and
// reported: the last of a pipeline often ends a moment after the shell.
const settle = 50 * time.Millisecond

// Keeper is the main function of a keeper process; args are the arguments after KeeperCommand. It gives the exit status.
func Keeper([]string) int {
	// PR_SET_PDEATHSIG goes by the thread that forks: the main one lives as long as the process.
	runtime.LockOSThread()
	closeOnExec()
	k := &keeper{
		link:   os.NewFile(keeperLink, "agent"),
		agent:  os.Getppid(),
		orders: make(chan order),
		ended:  make(chan struct{}),
		empty:  make(chan struct{}),
	}
	reader := json.NewDecoder(k.link)
	var job job
	if err := reader.Decode(&job); err != nil {
		fmt.Fprintln(os.Stderr, "otto: this command is for the agent's own use:", err)
		return 64
	}
	if err := k.start(job); err != nil {
		k.report.Error = err.Error()
	} else {
		go k.listen(reader)
		k.watch()
	}
	if err := json.NewEncoder(k.link).Encode(k.report); err != nil {
		return 1
	}
	return 0
}

// closeOnExec keeps from the step the socket, and whatever the agent's own parent let it inherit.
func closeOnExec() {
	if unix.CloseRange(keeperLink, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		unix.CloseOnExec(keeperLink)
	}
}

// start makes this process a keeper and starts the step's main process.
func (k *keeper) start(job job) (err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	// Without it the step could reach the socket through /proc.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	k.main, err = syscall.ForkExec(job.Argv[0], job.Argv, &syscall.ProcAttr{
		Dir:   job.Dir,
		Env:   job.Env,
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", job.Argv[0], err)
	}
	go k.reap()
	return nil
}

// reap collects every process that ends, for as long as there are any. Because all that the step starts are children of
// the keeper or of such a child, running out of children proves that nothing is left.
func (k *keeper) reap() {
	defer close(k.empty)
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return
		case pid == k.main:
			k.status = status
			close(k.ended)
		}
	}
}

// listen passes on the agent's orders. When the agent is gone, that is an order too.
func (k *keeper) listen(reader *json.Decoder) {
	for {
		var o order
		if err := reader.Decode(&o); err != nil {
			o = order{Kill: true}
		}
		k.orders <- o
		if o.Kill {
			return
		}
	}
}

// watch waits until the step has ended, or ends it by order.
func (k *keeper) watch() {
	signals := make(chan os.Signal, 1)
	// Caught, not ignored: what is ignored stays ignored in the step.
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	defer signal.Stop(signals)
	ended := k.ended
	var patience <-chan time.Time
	for {
		select {
		case <-k.empty:
			k.finish()
			return
		case <-ended:
			ended = nil
			if patience == nil { // an ordered stop gives the whole tree its time, not only the main process
				patience = time.After(settle)
			}
		case <-patience:
			k.sweep()
			return
		case o := <-k.orders:
			k.report.Ordered = k.report.Ordered || !isClosed(k.ended)
			if o.Kill {
				k.sweep()
				return
			}
			for _, p := range k.tree() {
				p.send(unix.SIGTERM)
			}
			patience = time.After(milliseconds(o.StopMS))
		case <-signals:
			// Sent when the agent dies (PR_SET_PDEATHSIG). The step may send it as well: then it means nothing.
			if os.Getppid() != k.agent {
				k.sweep()
				return
			}
		}
	}
}

// sweep kills all that is left, and says what that was if nobody ordered it.
func (k *keeper) sweep() {
	if !k.report.Ordered {
		for _, p := range k.tree() {
			k.report.Left = append(k.report.Left, p.String())
		}
	}
	sweep(k.tree, func() bool { return isClosed(k.empty) })
	if !isClosed(k.empty) {
		for _, p := range k.tree() {
			k.report.Survivors = append(k.report.Survivors, p.String())
		}
	}
	k.finish()
}

func (k *keeper) tree() []proc { return descendants(childrenOf(os.Getpid())) }

func (k *keeper) finish() {
	if !isClosed(k.ended) { // unkillable
		k.report.Signal = int(unix.SIGKILL)
		return
	}
	if k.status.Signaled() {
		k.report.Signal = int(k.status.Signal())
		return
	}
	k.report.Code = k.status.ExitStatus()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
