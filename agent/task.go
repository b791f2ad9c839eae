package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// task is one lease being worked on. Three contexts say how far it may go on; each ends with the one before it:
//
//	lost  the lease is lost, or the agent gives up: nothing is reported any more
//	life  an order to kill, or the agent stops: no process runs, but the server is told
//	soft  an order to abort, or the timeout: steps marked always still run
type task struct {
	agent *Agent
	lease client.Lease
	log   *slog.Logger

	lose  context.CancelCauseFunc
	kill  context.CancelCauseFunc
	abort context.CancelCauseFunc

	orders struct {
		sync.Mutex
		level      int  // of the strictest order so far
		concluding bool // the result is on its way
	}

	journal  *journal
	reporter *reporter
	cell     *isolation.Occupied // what keeps the steps apart from the rest of the machine; nil if nothing does
	room     room                // where the steps run, once the work is prepared
	steps    []client.StepReport // what became of each step
	home     *os.Root            // the task's directory, if the task may have outputs
	outputs  map[string]any
	written  atomic.Int64 // bytes of output, of all steps
	counted  int64        // number of the request in which the server counts the slot as free
	verdict  error        // what ended the work before its steps did; nil if nothing
	guard    *time.Timer  // stops the work once its lease cannot be renewed; nil if it goes on
}

// stopOrder is an order of the server, as the cause of a cancelled context.
type stopOrder struct{ client.Abort }

func (o stopOrder) Error() string { return o.Reason }

var (
	errTaskTimeout = errors.New("the task timed out")
	errStepTimeout = errors.New("the step timed out")
	errUnrenewed   = errors.New("the agent could not renew the lease, and on_lost is fail")
)

// begin takes in a lease and works on it in its own goroutine.
func (a *Agent) begin(ctx context.Context, lease client.Lease) error {
	if !leaseName.MatchString(lease.ID) {
		return fmt.Errorf("%q is not a lease id", lease.ID)
	}
	lostCtx, lose := context.WithCancelCause(ctx)
	life, kill := context.WithCancelCause(lostCtx)
	soft, abort := context.WithCancelCause(life)
	t := &task{
		agent: a, lease: lease, lose: lose, kill: kill, abort: abort,
		log:   a.log.With("lease", lease.ID, "task", lease.Task, "run", lease.Run, "name", lease.Spec.Name),
		steps: make([]client.StepReport, len(lease.Spec.Steps)),
	}
	for i := range t.steps {
		t.steps[i] = client.StepReport{Index: i, State: client.Skipped, Reason: shorten(lease.Spec.Steps[i].Omitted)}
	}
	t.watchLease()
	if err := a.roster.admit(t); err != nil {
		t.unwatchLease()
		lose(err)
		return err
	}
	go t.run(lostCtx, life, soft)
	return nil
}

// watchLease begins to stop the work when its lease is not renewed, if it must not go on unseen: at the lease's end the server
// gives it up, and somebody may do it again by hand. It was granted as long ago as the answer needed, which is not known.
func (t *task) watchLease() {
	if t.lease.Spec.OnLost == lostFails {
		t.guard = time.AfterFunc(t.agent.unheard(), func() { t.kill(errUnrenewed) })
	}
}

// renewed notes that the lease lives on, by an answer to what was asked at that time.
func (t *task) renewed(asked time.Time) {
	if t.guard != nil {
		t.guard.Reset(t.agent.unheard() - time.Since(asked))
	}
}

func (t *task) unwatchLease() {
	if t.guard != nil {
		t.guard.Stop()
	}
}

// lostFails is the on_lost of tasks that nobody repeats.
const lostFails = "fail"

// unheard is how long work goes on that must have ended when its lease does: the last quarter is for killing it.
func (a *Agent) unheard() time.Duration { return milliseconds(a.settings.LeaseTTLMS) * 3 / 4 }

// obey passes on an order, and says whether it asks for more than those before.
func (t *task) obey(ctx context.Context, order client.Abort) bool {
	level, stop := 1, t.abort
	if order.Level == "kill" {
		level, stop = 2, t.kill
	}
	t.orders.Lock()
	news := level > t.orders.level
	t.orders.level = max(level, t.orders.level)
	t.orders.Unlock()
	if news {
		t.log.InfoContext(ctx, "order received", "level", order.Level, "reason", order.Reason)
		stop(stopOrder{order})
	}
	return news
}

// fence ends all work, since the lease is lost. Once the result is on its way its own answer says whether it came too
// late: a heartbeat that crosses it finds the lease ended and calls it fenced.
func (t *task) fence() {
	t.orders.Lock()
	defer t.orders.Unlock()
	if !t.orders.concluding {
		t.lose(errLeaseLost)
	}
}

// run works on the lease until the server has its result and its log, and nothing of it is left on disk.
func (t *task) run(lostCtx, life, soft context.Context) {
	defer t.agent.roster.leave()
	defer t.lose(errAgentEnd)
	t.log.InfoContext(lostCtx, "task taken", "attempt", t.lease.Epoch)
	spool := newSpool(t.agent.dir.spool(t.lease.ID), t.agent.cfg.SpoolBytes)
	t.journal = newJournal(spool, t.agent.zip, t.agent.settings.ChunkBytes, t.agent.cfg.LogBytes)
	t.journal.epoch, t.journal.broken = t.lease.Epoch, t.abort
	var uploading sync.WaitGroup
	uploading.Go(func() { t.upload(lostCtx, spool) })

	t.work(life, soft)
	t.unwatchLease()
	total, err := t.journal.seal()
	if t.verdict == nil {
		t.verdict = err
	}
	t.conclude(lostCtx, total)
	t.agent.roster.dismiss(t)
	t.tidy(lostCtx)
	uploading.Wait()
	if err := spool.remove(); err != nil {
		t.log.WarnContext(lostCtx, "spool not removed", "error", err)
	}
}

// upload sends the log until the server has all of it. A refused log is dropped; a lost lease ends the work.
func (t *task) upload(ctx context.Context, s *spool) {
	err := t.agent.upload(ctx, t.lease.ID, s)
	if err == nil {
		return
	}
	t.log.WarnContext(ctx, "log not stored", "error", err)
	if lost(err) {
		t.fence()
	}
	if err := s.drop(); err != nil {
		t.log.WarnContext(ctx, "spool not emptied", "error", err)
	}
}

// work says that the work begins, prepares the workspace, and runs the steps. The word comes first: to fetch a large source
// takes longer than a lease may stay unstarted.
func (t *task) work(life, soft context.Context) {
	t.reporter = newReporter(t.agent, t.lease, t.lose)
	if t.verdict = t.admits(soft); t.verdict != nil {
		t.journal.say(-1, "%v", t.verdict)
		return
	}
	made := t.furnish(soft)
	defer t.closeOutput()
	if err := t.start(soft); err != nil {
		<-made
		t.unsettle(life)
		t.verdict = context.Cause(soft)
		if t.verdict == nil { // refused: whatever the reason, the work must not begin
			t.log.WarnContext(soft, "start refused", "error", err)
			t.lose(errLeaseLost)
		}
		return
	}
	if t.lease.Spec.TimeoutMS > 0 {
		var cancel context.CancelFunc
		soft, cancel = context.WithTimeoutCause(soft, milliseconds(t.lease.Spec.TimeoutMS), errTaskTimeout)
		defer cancel()
	}
	if err := t.prepare(soft, made); err != nil {
		t.verdict = err
		if cause := context.Cause(soft); cause != nil {
			t.verdict = cause
		}
		t.journal.say(-1, "%v", t.verdict)
		t.unsettle(life)
		return
	}
	reporting, done := context.WithCancel(life)
	var reports sync.WaitGroup
	reports.Go(func() { t.reporter.run(reporting) })
	defer reports.Wait()
	defer done() // the result names all steps: what is not reported yet need not be
	t.runSteps(life, soft)
	t.leave(life)
	t.takeOutputs()
}

// start reports that the work, and its first step, begins. Nothing runs before the server has agreed: the lease may have
// been aborted or lost meanwhile.
func (t *task) start(ctx context.Context) error {
	first := t.firstStep()
	report := client.LeaseStart{Epoch: t.lease.Epoch, Steps: t.steps[:first:first], Isolation: t.isolation(ctx)}
	if first < len(t.steps) {
		report.Steps = append(report.Steps, client.StepReport{Index: first, State: client.Running})
	}
	t.journal.restart()
	return t.agent.insist(ctx, "start", func(ctx context.Context) error {
		_, err := t.agent.reports.LeaseStart(ctx, t.lease.ID, report)
		return err
	})
}

// firstStep is the index of the first step that runs.
func (t *task) firstStep() int {
	for i, spec := range t.lease.Spec.Steps {
		if spec.Omitted == "" {
			return i
		}
	}
	return len(t.steps)
}

// path names a part of the task's directory.
func (t *task) path(part string) string { return filepath.Join(t.agent.dir.task(t.lease.ID), part) }

// tidy removes the task's directory.
func (t *task) tidy(ctx context.Context) {
	if t.agent.cfg.KeepWorkspace {
		return
	}
	if err := t.agent.dir.removeTask(t.lease.ID); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.log.WarnContext(ctx, "workspace not removed", "error", err)
	}
}
