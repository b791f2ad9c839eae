package agent

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/isolation"
)

// keeper is the process between the agent and a step. It is the subreaper of everything the step starts: whatever
// daemonises, starts a session of its own or loses its parent becomes the keeper's child, so that "no child is left"
// means "nothing of the step is left". It outlives a kill -9 of the agent just long enough to kill the step.
//
// It serves one step after the other: to start a program of this size takes ten times the CPU of a small step.
type keeper struct {
	inbox   *inbox
	agent   int            // pid
	signals chan os.Signal // caught
	timer   *time.Timer
	vitals  vitals
	fresh   condition // at the start
	unfit   error
	*watched
}

// watched is a step that a keeper has started, or is about to.
type watched struct {
	report   ending
	cell     *isolation.Cell
	started  *isolation.Started
	main     int
	handle   *handle       // of the main process
	maybe    chan struct{} // closed when it has probably ended; nil once that was seen
	status   unix.WaitStatus
	ended    bool      // the main process has, and status is set
	empty    bool      // no process is left
	looked   time.Time // at what the step uses
	deadline time.Time // to end what is left; none if zero
	pause    time.Duration
}

// keeperLink is the descriptor of the socket to the agent.
const keeperLink = 3

const (
	// settle is how long the processes that a step leaves behind may take to end by themselves before they are killed
	// and reported: the last of a pipeline often ends a moment after the shell.
	settle = 50 * time.Millisecond
	// A process that the step has orphaned ends unseen until the keeper looks: seldom, as long as there was none.
	shortPause, usualPause, longPause = time.Millisecond, 16 * time.Millisecond, time.Second
)

// Keeper is the main function of a keeper process; args are the arguments after KeeperCommand. It gives the exit status.
func Keeper(args []string) int {
	if len(args) > 0 && args[0] == wardenWord {
		return engine.Warden(args[1:])
	}
	runtime.GOMAXPROCS(1) // one thing after the other; more threads would only wake each other
	k := &keeper{agent: os.Getppid(), signals: make(chan os.Signal, 1), timer: time.NewTimer(0)}
	var err error
	if k.inbox, err = openInbox(keeperLink); err != nil {
		fmt.Fprintln(os.Stderr, notForPeople, err)
		return 64
	}
	k.unfit = k.prepare()
	go k.inbox.listen()
	for {
		job, err := k.next()
		switch {
		case errors.Is(err, io.EOF):
			return 0
		case err != nil:
			fmt.Fprintln(os.Stderr, notForPeople, err)
			return 64
		}
		k.serve(job)
		if err := k.inbox.answer(k.report); err != nil {
			return 1
		}
		if k.report.Worn != "" {
			return 0
		}
	}
}

const notForPeople = "otto: this command is for the agent's own use:"

// prepare makes this process a keeper.
func (k *keeper) prepare() (err error) {
	closeOnExec()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a subreaper: %w", err)
	}
	// Without it a step could reach the socket through /proc, and what the keeper is through ptrace.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("become undumpable: %w", err)
	}
	// Caught, not ignored: what is ignored stays ignored in the step.
	signal.Notify(k.signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGPIPE)
	if err := k.vitals.open(keeperLink); err != nil {
		return err
	}
	k.fresh, err = k.vitals.condition()
	return err
}

// closeOnExec keeps from the step the socket, and whatever the agent's own parent let it inherit.
func closeOnExec() {
	if unix.CloseRange(keeperLink, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // before Linux 5.11
		unix.CloseOnExec(keeperLink)
	}
}

// next waits for a job. It answers io.EOF once the agent wants nothing more, or is gone.
func (k *keeper) next() (delivery, error) {
	k.watched = &watched{}
	for {
		select {
		case d, ok := <-k.inbox.messages:
			if !ok {
				return d, k.inbox.err
			}
			if d.Job != nil {
				return d, nil
			}
			// An order that crossed the end of the step that it was for.
		case <-k.signals:
			if k.signalled() {
				return delivery{}, io.EOF
			}
		}
	}
}

// serve runs a job to its end and says in the report how it went, and whether this keeper can have another.
func (k *keeper) serve(d delivery) {
	err := k.unfit
	if err == nil {
		err = k.start(*d.Job, d.files)
	}
	closeFiles(d.files)
	if err != nil {
		k.report.Error = err.Error()
	} else {
		k.watch()
	}
	if len(k.report.Survivors) > 0 {
		k.report.Worn = "it could not kill everything"
	}
	if k.report.Worn == "" {
		k.report.Worn = k.vitals.wear(k.fresh)
	}
}

// start starts the step's main process. Standard input is opened anew each time: a step can change what it shares with
// the next.
func (k *keeper) start(job job, output []int) error {
	if len(output) != len(outputKinds) {
		return errors.New("the job came without its outputs")
	}
	input, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(input)
	if k.cell = job.Cell; k.cell == nil {
		k.cell = &isolation.Cell{}
	}
	k.started, err = k.cell.Start(isolation.Program{
		Argv: job.Argv, Dir: job.Dir, Env: job.Env, Files: []uintptr{uintptr(input), uintptr(output[0]), uintptr(output[1])},
	})
	if err != nil {
		return err
	}
	if k.cell.Lowers() {
		k.report.Worn = "it has lowered its limits for a step"
	}
	k.main = k.started.Pid
	k.handle = handleOf(k.started.PidFD)
	k.maybe = k.handle.ready
	return nil
}

// watch waits until the step has ended, or ends it by order.
func (k *keeper) watch() {
	k.pause = usualPause
	defer k.finish()
	for k.reap(); !k.empty; k.reap() {
		if k.ended && k.deadline.IsZero() { // an ordered stop gives the whole tree its time, not only the main process
			k.deadline = time.Now().Add(settle)
		}
		left := longPause
		if !k.deadline.IsZero() {
			left = time.Until(k.deadline)
		}
		if k.cell.Watches() {
			left = min(left, watchPause)
		}
		if k.report.Limit = k.broke(); k.report.Limit != "" || left <= 0 || k.wait(min(k.pause, left)) {
			k.sweep()
			return
		}
	}
}

// watchPause is how often a keeper looks at what nothing else bounds. What grows faster than that outgrows its limit.
const watchPause = 100 * time.Millisecond

// broke says which limit the step is over that only the keeper sees.
func (k *keeper) broke() string {
	if !k.cell.Watches() || time.Since(k.looked) < watchPause {
		return ""
	}
	k.looked = time.Now()
	pids := []int{}
	for _, p := range k.tree() {
		pids = append(pids, p.pid)
	}
	return k.cell.Over(pids)
}

// reap collects every process that has ended. Because all that the step starts are children of the keeper or of such a
// child, running out of children proves that nothing is left.
func (k *keeper) reap() {
	for !k.empty {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			k.empty = true
		case pid == 0:
			return
		case pid == k.main:
			k.ended, k.status, k.pause = true, status, shortPause
		default:
			k.pause = min(k.pause, usualPause)
		}
	}
}

// wait waits for something to happen, at most for limit, and says whether the step must end now.
func (k *keeper) wait(limit time.Duration) (now bool) {
	k.timer.Reset(limit)
	select {
	case <-k.maybe:
		k.maybe = nil
	case <-k.timer.C:
		k.pause = min(2*k.pause, longPause)
	case d, ok := <-k.inbox.messages:
		return k.obey(d, ok)
	case <-k.signals:
		return k.signalled()
	}
	return false
}

const signalled = "it was signalled"

// signalled notes that a signal came, and says whether the agent is gone: then one is sent (PR_SET_PDEATHSIG). A step may
// send it as well. That means nothing, but nobody knows what else was sent and is still to come.
func (k *keeper) signalled() bool {
	k.report.Worn = signalled
	return os.Getppid() != k.agent
}

// obey follows an order of the agent, and says whether the step must end now. That the agent is gone is an order too, and
// a second job is none.
func (k *keeper) obey(d delivery, ok bool) (now bool) {
	closeFiles(d.files)
	k.reap()
	k.report.Ordered = k.report.Ordered || !k.ended
	if !ok || d.Order == nil || d.Order.Kill {
		return true
	}
	for _, p := range k.tree() {
		if !k.cell.Wraps() || p.pid != k.main { // what wraps the step would end at once, and take it along
			p.send(unix.SIGTERM)
		}
	}
	k.deadline = time.Now().Add(milliseconds(d.Order.StopMS))
	return false
}

// sweep kills all that is left, and says what that was if nobody ordered it.
func (k *keeper) sweep() {
	if !k.report.Ordered && k.report.Limit == "" {
		for _, p := range k.tree() {
			k.report.Left = append(k.report.Left, p.String())
		}
	}
	if k.cell.Group != nil { // at once, with whatever is being forked
		if err := k.cell.Group.End(); err != nil {
			fmt.Fprintln(os.Stderr, "otto:", err) // the sweep goes on without
		}
	}
	sweep(k.tree, func() bool { k.reap(); return k.empty })
	if !k.empty {
		for _, p := range k.tree() {
			k.report.Survivors = append(k.report.Survivors, p.String())
		}
	}
}

func (k *keeper) tree() []proc { return descendants(childrenOf(os.Getpid())) }

func (k *keeper) finish() {
	k.handle.close()
	if k.report.Limit == "" {
		k.report.Limit = k.started.Broke()
	}
	k.started.Release()
	select {
	case <-k.signals:
		k.report.Worn = signalled
	default:
	}
	switch {
	case !k.ended: // unkillable
		k.report.Signal = int(unix.SIGKILL)
	case k.status.Signaled():
		k.report.Signal = int(k.status.Signal())
	default:
		k.report.Code = k.status.ExitStatus()
	}
}
