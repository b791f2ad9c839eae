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
	machine  *machine // whose other runs may be in the same groups
}

type modelStage struct {
	modelStagePlan
	run      *modelRun
	state    string
	severity int
	warned   bool
	reached  bool // all stages before it are final
	left     int  // tasks that are not final, as far as they have been counted
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
	needsLeft  int // -1: it waits for the stages before its own
	neededBy   []*modelTask
	undecided  bool
	award      *modelAward // nil unless an agent is being started for it
	awards     []*modelAward
	lot        *modelAuction // its last auction
	round      int
	againAt    time.Duration // no new round before
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

// advance opens the next stage that has a task to run, even if that was aborted meanwhile, passes over those before it,
// and ends the run after the last.
func (r *modelRun) advance(now time.Duration) {
	if isFinal(r.state) {
		return
	}
	var skipped []modelEnd
	for _, s := range r.stages {
		if isFinal(s.state) {
			continue
		}
		if s.reached {
			return
		}
		if slices.ContainsFunc(s.tasks, func(t *modelTask) bool {
			return t.state != "skipped" && (t.needsLeft >= 0 || s.goes() || t.always && !s.onFailure)
		}) {
			endAll(skipped, now)
			s.reach(now)
			return
		}
		skipped = append(skipped, s.pass()...)
	}
	if len(r.stages) == 0 {
		r.severity = severityOf("succeeded")
	}
	r.state = outcomes[r.severity]
}

// before is the worst outcome of the stages before this one. One after it may be over, too, when its tasks needed none of
// these, or were aborted: that counts for the run, but not for what comes before.
func (s *modelStage) before() (worst int) {
	for _, other := range s.run.stages {
		if other == s {
			return worst
		}
		if isFinal(other.state) {
			worst = max(worst, other.severity)
		}
	}
	return worst
}

// goes says whether tasks run that are not marked always.
func (s *modelStage) goes() bool {
	if s.onFailure {
		return s.before() == severityOf("failed") && s.run.state != "aborting"
	}
	return goesOn(s.before())
}

// pass skips a stage that does not run. One of its tasks may have been aborted before: the functions show the stage as
// skipped all the same. The run has stopped for a worse reason, so its result does not depend on that.
func (s *modelStage) pass() (skipped []modelEnd) {
	for _, t := range s.tasks {
		if t.state == "waiting" {
			t.state = "skipped"
			skipped = append(skipped, modelEnd{task: t, counted: true})
		}
	}
	s.state, s.severity, s.left = "skipped", severityOf("skipped"), 0
	return skipped
}

// reach opens a stage. It runs if one of its tasks starts with that.
func (s *modelStage) reach(now time.Duration) {
	if isFinal(s.state) || s.reached {
		return
	}
	s.reached = true
	goes := s.goes()
	for _, t := range s.tasks {
		if s.state == "waiting" && t.state == "waiting" && t.needsLeft < 0 && (goes || t.always) {
			s.state = "running"
		}
	}
	s.open(now)
}

// end gives the stage the worst of its tasks, and the run that of its stages.
func (s *modelStage) end() {
	s.state = outcomes[s.severity]
	s.run.severity, s.run.warned = max(s.run.severity, s.severity), s.run.warned || s.warned
}

// open starts what may run now of what waits for the stage: the next task of a linear stage, all of others.
func (s *modelStage) open(now time.Duration) {
	goOn := (s.onFailure || goesOn(s.before())) && (s.mode != "linear" || goesOn(s.severity))
	var starts []*modelTask
	var skipped []modelEnd
	for _, t := range s.tasks {
		switch {
		case t.state != "waiting" || t.needsLeft >= 0 || s.mode == "linear" && len(starts) > 0:
		case goOn || t.always:
			starts = append(starts, t)
		default:
			t.state = "skipped"
			skipped = append(skipped, modelEnd{task: t})
		}
	}
	enter(starts, now)
	endAll(skipped, now)
}

// modelEnd is a task that became final.
type modelEnd struct {
	task      *modelTask
	severity  int
	warned    bool
	fulfilled bool // who needs it may run
	counted   bool // its stage has ended already
}

// endAll follows the end of tasks: who needs them, their stages, their groups.
func endAll(ends []modelEnd, now time.Duration) {
	if len(ends) == 0 {
		return
	}
	ends = append(slices.Clone(ends), lost(ends)...)
	var stages []*modelStage
	for _, e := range ends {
		s := e.task.stage
		if e.counted {
			continue
		}
		s.left--
		s.severity, s.warned = max(s.severity, e.severity), s.warned || e.warned
		if !slices.Contains(stages, s) {
			stages = append(stages, s)
		}
	}
	settle(stages, now)
	var ready []*modelTask
	for _, e := range ends {
		for _, d := range e.task.neededBy {
			if d.state == "waiting" {
				if d.needsLeft--; d.needsLeft == 0 {
					ready = append(ready, d)
				}
			}
		}
	}
	begin(ready, now)
	for _, e := range ends {
		e.task.stage.run.machine.admit(e.task.group.Group, now)
	}
}

// lost skips who needs what has failed, and who needs these.
func lost(ends []modelEnd) (skipped []modelEnd) {
	for _, e := range ends {
		if e.fulfilled {
			continue
		}
		for _, d := range e.task.neededBy {
			if d.state == "waiting" && !d.always {
				d.state = "skipped"
				skipped = append(skipped, modelEnd{task: d})
			}
		}
	}
	if len(skipped) == 0 {
		return nil
	}
	return append(skipped, lost(skipped)...)
}

// settle ends stages that have no task left, and goes on with linear ones and with runs.
func settle(stages []*modelStage, now time.Duration) {
	var ended bool
	for _, s := range stages {
		if !isFinal(s.state) && s.left == 0 {
			s.end()
			ended = true
		}
	}
	for _, s := range stages {
		active := slices.ContainsFunc(s.tasks, func(t *modelTask) bool { return t.needsLeft < 0 && t.state != "waiting" && !isFinal(t.state) })
		if !isFinal(s.state) && s.reached && s.mode == "linear" && !active {
			s.open(now)
		}
	}
	if ended {
		stages[0].run.advance(now)
	}
}

// begin starts tasks that did not wait for their stages.
func begin(tasks []*modelTask, now time.Duration) {
	for _, t := range tasks {
		if t.state == "waiting" && t.stage.state == "waiting" {
			t.stage.state = "running"
		}
	}
	enter(tasks, now)
}

// enter starts tasks: what is to be decided is blocked, and a group takes in as many as it has room for.
func enter(tasks []*modelTask, now time.Duration) {
	var grouped []*modelTask
	for _, t := range tasks {
		switch {
		case t.state != "waiting":
		case t.undecided:
			t.state = "blocked"
		case t.group.Group == "":
			t.state, t.readyAt = "ready", now
		default:
			grouped = append(grouped, t)
		}
	}
	for _, t := range grouped {
		t.state = "blocked"
	}
	for _, t := range grouped {
		t.stage.run.machine.admit(t.group.Group, now)
	}
	var skipped []modelEnd
	for _, t := range grouped {
		if t.state == "blocked" && t.group.OnConflict == "skip" {
			t.state = "skipped"
			skipped = append(skipped, modelEnd{task: t})
		}
	}
	endAll(skipped, now)
}

// in lists the tasks of a group that have entered it: the oldest run's first.
func (m *machine) in(group string, active bool) (found []*modelTask) {
	for _, r := range m.runs {
		for _, s := range r.stages {
			for _, t := range s.tasks {
				if group != "" && t.group.Group == group && !t.undecided && (t.state == "blocked" && !active || slices.Contains([]string{"ready", "scheduled", "provisioning", "running"}, t.state) && active) {
					found = append(found, t)
				}
			}
		}
	}
	return found
}

// admit lets the oldest into a group for which there is room by their own limit.
func (m *machine) admit(group string, now time.Duration) {
	active := len(m.in(group, true))
	for _, t := range m.in(group, false) {
		if active < t.group.Limit {
			t.state, t.readyAt = "ready", now
			active++
		}
	}
}

// superseded says which newer run a task of a group gives way to; 0 for none.
func (m *machine) superseded(x *modelTask) (by int64) {
	if x.lease != nil && x.lease.ordered {
		return 0
	}
	waits := func(t *modelTask) bool { return t.state == "blocked" && t.group.OnConflict == "abort_older" }
	for _, y := range append(m.in(x.group.Group, true), m.in(x.group.Group, false)...) {
		if y.stage.run.id > x.stage.run.id && (waits(x) || waits(y)) {
			by = max(by, y.stage.run.id)
		}
	}
	return by
}

// finished makes a task final, or ready for another attempt. ordered says that it was told to stop.
func (t *modelTask) finished(outcome, why string, ordered bool, now time.Duration) {
	if outcome == "failed" && !ordered && t.epoch > 0 && t.stage.run.state != "aborting" && t.retries < t.limit && slices.Contains(t.on, why) {
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
		t.stage.run.stop(t.stage, false, now)
	}
	endAll([]modelEnd{{task: t, severity: effective, warned: forgiven, fulfilled: goesOn(effective)}}, now)
}

// stop aborts what has not started and orders what runs to stop, of one stage or (nil) of all. What is marked always is
// spared unless everything must go.
func (r *modelRun) stop(only *modelStage, everything bool, now time.Duration) {
	var ends []modelEnd
	for _, s := range r.stages {
		for _, t := range s.tasks {
			switch {
			case only != nil && s != only, t.always && !everything, isFinal(t.state):
			case t.state == "running":
				t.lease.order(now)
			default:
				t.abandon("aborted")
				t.state = "aborted"
				ends = append(ends, modelEnd{task: t, severity: severityOf("aborted")})
			}
		}
	}
	endAll(ends, now)
}

func (l *modelLease) order(now time.Duration) {
	if !l.ordered {
		l.ordered, l.orderedAt = true, now
	}
}

// abandon ends the attempt that is under way, or the award, if any.
func (t *modelTask) abandon(why string) {
	if t.award != nil {
		t.award.end, t.award = "aborted", nil
	}
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
		fmt.Fprintf(&b, "\n  stage %d %s left=%d warned=%v", i, s.state, s.left, s.warned)
		for _, t := range s.tasks {
			fmt.Fprintf(&b, "\n    task %s %s attempt=%d retries=%d interrupts=%d ended=%s awards=%s", t.name, t.state, t.epoch, t.retries, t.interrupts, t.ended(), t.awarded())
		}
	}
	return b.String()
}

// awarded lists what became of its awards, sorted: several may end at the same moment.
func (t *modelTask) awarded() string {
	var out []string
	for _, w := range t.awards {
		out = append(out, w.end)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func (t *modelTask) ended() string {
	var out []string
	for _, l := range t.leases {
		out = append(out, l.end)
	}
	return strings.Join(out, ",")
}
