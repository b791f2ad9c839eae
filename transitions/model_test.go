package transitions_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ottoci/otto/db"
)

// The state machine again, in plain Go and from the rules rather than from the SQL: what runs next, what an outcome does
// to those above it, who may report. TestModel compares it with the functions.

type modelRun struct {
	id       int64
	state    string
	severity int
	warned   bool
	plan     modelPlan
	stages   []*modelStage
}

type modelStage struct {
	modelStagePlan
	run      *modelRun
	state    string
	severity int
	warned   bool
	tasks    []*modelTask
}

type modelTask struct {
	modelTaskPlan
	id         int64
	stage      *modelStage
	state      string
	epoch      int
	retries    int
	interrupts int
	readyAt    time.Duration
	lease      *modelLease // nil unless an attempt is under way
	leases     []*modelLease
}

type modelLease struct {
	row       db.Lease
	task      *modelTask
	started   bool
	ordered   bool // to abort
	orderedAt time.Duration
	startBy   time.Duration
	expiresAt time.Duration
	end       string // how, or open
}

// The settings of a fresh database.
const (
	modelTTL        = 30 * time.Second
	modelStart      = 60 * time.Second
	modelSilence    = 60 * time.Second
	modelInterrupts = 3
)

var outcomes = []string{"skipped", "succeeded", "unstable", "aborted", "failed"} // by severity

func severityOf(s string) int   { return slices.Index(outcomes, s) }
func goesOn(severity int) bool  { return severity <= severityOf("unstable") }
func isFinal(state string) bool { return slices.Contains(outcomes, state) }

func (s *modelStage) left() (n int) {
	for _, t := range s.tasks {
		if !isFinal(t.state) {
			n++
		}
	}
	return n
}

// advance opens the next stage that has a task to run, even if that was aborted meanwhile, passes over those before it,
// and ends the run after the last.
func (r *modelRun) advance(now time.Duration) {
	if isFinal(r.state) || slices.ContainsFunc(r.stages, func(s *modelStage) bool { return s.state == "running" }) {
		return
	}
	for _, s := range r.stages {
		if s.state != "waiting" {
			continue
		}
		if slices.ContainsFunc(s.tasks, func(t *modelTask) bool { return t.runs(goesOn(s.before())) }) {
			s.state = "running"
			s.open(now)
			return
		}
		s.pass()
	}
	if len(r.stages) == 0 {
		r.severity = severityOf("succeeded")
	}
	r.state = outcomes[r.severity]
}

// before is the worst outcome of the stages before this one. One after it may be over, too, when all its tasks were
// aborted: that counts for the run, but not for what comes before.
func (s *modelStage) before() (worst int) {
	for _, other := range s.run.stages {
		if other == s {
			return worst
		}
		worst = max(worst, other.severity)
	}
	return worst
}

func (t *modelTask) runs(goOn bool) bool { return goOn || t.always || t.stage.always }

// pass skips a stage that does not run. One of its tasks may have been aborted before: the functions show the stage as
// skipped all the same. The run has stopped for a worse reason, so its result does not depend on that.
func (s *modelStage) pass() {
	for _, t := range s.tasks {
		if t.state == "waiting" {
			t.state = "skipped"
		}
	}
	s.state, s.severity = "skipped", severityOf("skipped")
}

// end gives the stage the worst of its tasks, and the run that of its stages.
func (s *modelStage) end() {
	s.state = outcomes[s.severity]
	s.run.severity, s.run.warned = max(s.run.severity, s.severity), s.run.warned || s.warned
}

// open makes ready what may run now: the next task of a linear stage, all of others.
func (s *modelStage) open(now time.Duration) {
	severity := s.before()
	if s.mode == "linear" {
		severity = max(severity, s.severity)
	}
	for _, t := range s.tasks {
		switch {
		case t.state == "waiting" && !t.runs(goesOn(severity)):
			t.state = "skipped"
		case t.state == "waiting":
			t.state, t.readyAt = "ready", now
		}
		if s.mode == "linear" && t.state == "ready" {
			return
		}
	}
	s.settle(now)
}

// settle follows the end of tasks: the next of a linear stage, or the end of the stage.
func (s *modelStage) settle(now time.Duration) {
	active := slices.ContainsFunc(s.tasks, func(t *modelTask) bool { return t.state != "waiting" && !isFinal(t.state) })
	switch {
	case isFinal(s.state):
	case s.left() == 0:
		s.end()
		s.run.advance(now)
	case s.mode == "linear" && s.state == "running" && !active:
		s.open(now)
	}
}

// finished makes a task final, or ready for another attempt. ordered says that it was told to stop.
func (t *modelTask) finished(outcome, why string, ordered bool, now time.Duration) {
	if outcome == "failed" && !ordered && t.stage.run.state != "aborting" && t.retries < t.limit && slices.Contains(t.on, why) {
		t.state, t.lease, t.readyAt = "ready", nil, now+t.delay
		t.retries++
		return
	}
	t.state, t.lease = outcome, nil
	forgiven := t.allowFailure && (outcome == "failed" || outcome == "unstable" || outcome == "aborted" && !ordered)
	effective := severityOf(outcome)
	if forgiven {
		effective = severityOf("succeeded")
	}
	if t.stage.mode == "fanout" && !ordered && effective >= severityOf("aborted") {
		t.stage.count(effective, forgiven)
		t.stage.run.stop(t.stage, false, now)
	}
	t.stage.count(effective, forgiven)
	t.stage.settle(now)
}

func (s *modelStage) count(severity int, warned bool) {
	s.severity, s.warned = max(s.severity, severity), s.warned || warned
}

// stop aborts what has not started and orders what runs to stop, of one stage or (nil) of all. What is marked always is
// spared unless everything must go.
func (r *modelRun) stop(only *modelStage, everything bool, now time.Duration) {
	var touched []*modelStage
	for _, s := range r.stages {
		for _, t := range s.tasks {
			switch {
			case only != nil && s != only, (t.always || s.always) && !everything, isFinal(t.state):
			case t.state == "running":
				t.lease.order(now)
			default:
				t.abandon("aborted")
				t.state = "aborted"
				s.count(severityOf("aborted"), false)
				touched = append(touched, s)
			}
		}
	}
	slices.SortStableFunc(touched, func(a, b *modelStage) int { // the running stage ends last, and the run looks on from there
		return strings.Compare(b.state, a.state)
	})
	for _, s := range touched {
		s.settle(now)
	}
}

func (l *modelLease) order(now time.Duration) {
	if !l.ordered {
		l.ordered, l.orderedAt = true, now
	}
}

// abandon ends the attempt that is under way, if any.
func (t *modelTask) abandon(why string) {
	if t.lease != nil {
		t.lease.end, t.lease = why, nil
	}
}

// holds says whether a report is taken: the lease is the task's current one, and of this attempt.
func (l *modelLease) holds() bool { return l.task.lease == l }

// lost takes an attempt away: the task is ready again, or has failed, or was to be aborted anyway.
func (l *modelLease) lost(why string, now time.Duration) {
	t := l.task
	l.end = map[string]string{"released": "released", "unconfirmed": "aborted"}[why]
	if l.end == "" {
		l.end = "interrupted"
	}
	again := !l.started || t.interrupts < modelInterrupts && !t.onLostFail
	switch {
	case l.ordered:
		t.finished("aborted", why, true, now)
	case again:
		t.state, t.lease, t.readyAt = "ready", nil, now
		if l.started {
			t.interrupts++
		}
	default:
		t.finished("failed", "lost", false, now)
	}
}

// String is the state of everything in a run, as rowsOf reads it.
func (r *modelRun) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "run %s warned=%v", r.state, r.warned)
	for i, s := range r.stages {
		fmt.Fprintf(&b, "\n  stage %d %s left=%d warned=%v", i, s.state, s.left(), s.warned)
		for _, t := range s.tasks {
			fmt.Fprintf(&b, "\n    task %s %s attempt=%d retries=%d interrupts=%d ended=%s", t.name, t.state, t.epoch, t.retries, t.interrupts, t.ended())
		}
	}
	return b.String()
}

func (t *modelTask) ended() string {
	var out []string
	for _, l := range t.leases {
		out = append(out, l.end)
	}
	return strings.Join(out, ",")
}
