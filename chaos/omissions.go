package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// An omission is a task that did not run, or a step of one that succeeded. Each must be explained by the plan and by what became
// of others, as its reason says; and what did run must not have had such a reason.
type omissions struct {
	tasks []*tracedTask
	runs  map[int64]map[string]*tracedTask // by their names
}

// tracedTask is what became of a task, and what its plan says.
type tracedTask struct {
	ID, Run                                int64
	Name, State, Reason, Group, OnConflict string
	RunState, StageName                    string
	Stage, Epoch                           int
	Always, AllowFailure, OnFailure        bool
	Worst                                  int // severity of the stages before
	Spec                                   tracedSpec
	Outputs                                map[string]any
	Steps                                  []string // states, of the last attempt
}

type tracedSpec struct {
	Omitted string      `json:"omitted"`
	Needs   []string    `json:"needs"`
	When    *tracedWhen `json:"when"`
	Steps   []struct {
		Name string      `json:"name"`
		When *tracedWhen `json:"when"`
	} `json:"steps"`
}

type tracedWhen struct {
	Expr    string `json:"expr"`
	Verdict string `json:"verdict"`
}

const tracedTasks = `
	select t.id, t.run_id as run, t.name, t.state, coalesce(t.reason, '') as reason, coalesce(t.group_name, '') as "group", coalesce(t.on_conflict, '') as on_conflict,
	       r.state as run_state, s.name as stage_name, t.stage_index as stage, t.epoch, t.always, t.allow_failure, s.on_failure,
	       (select coalesce(max(b.severity), 0) from stages b where b.run_id = t.run_id and b.index < t.stage_index)::int as worst, p.spec,
	       coalesce((select o.outputs from task_outputs o where o.task_id = t.id and o.epoch = t.epoch), '{}') as outputs,
	       array(select x.state from steps x where x.task_id = t.id and x.epoch = t.epoch order by x.index) as steps
	  from tasks t join runs r on r.id = t.run_id join stages s on s.id = t.stage_id
	  join plan_tasks p on p.plan_digest = r.plan_digest and p.stage_index = t.stage_index and p.task_index = t.index order by t.id`

// judgeOmissions holds what did not run against the plans.
func judgeOmissions(ctx context.Context, f *fleet, r *report) error {
	rows, err := f.pg.admin.Query(ctx, tracedTasks)
	if err != nil {
		return err
	}
	o := omissions{runs: map[int64]map[string]*tracedTask{}}
	if o.tasks, err = pgx.CollectRows(rows, pgx.RowToAddrOfStructByName[tracedTask]); err != nil {
		return err
	}
	for _, t := range o.tasks {
		if o.runs[t.Run] == nil {
			o.runs[t.Run] = map[string]*tracedTask{}
		}
		o.runs[t.Run][t.Name] = t
	}
	r.Omissions = map[string]int{}
	for _, t := range o.tasks {
		if wrong := o.judge(t); wrong != "" {
			r.broken("what was planned runs, but for a reason", fmt.Sprintf("task %d (%s) of run %d is %s (%s): %s", t.ID, t.Name, t.Run, t.State, t.Reason, wrong))
		}
		if kind := t.omission(); kind != "" {
			r.Omissions[kind]++
		}
	}
	return nil
}

// omission is in a word why a task did not run; empty if it did, or was stopped before.
func (t *tracedTask) omission() string {
	kind, _, _ := strings.Cut(t.Reason, ":")
	switch {
	case t.Spec.Omitted != "":
		return "planned"
	case t.State == "skipped" && words.MatchString(kind):
		return kind
	case t.State == "skipped":
		return "condition"
	case strings.HasPrefix(t.Reason, "superseded"):
		return "superseded"
	}
	return ""
}

var words = regexp.MustCompile(`^[a-z_]+$`)

// judge says what is wrong with how a task ended.
func (o *omissions) judge(t *tracedTask) string {
	switch {
	case t.State == "skipped" && t.Epoch > 0:
		return "it had begun"
	case t.State == "skipped":
		return o.unexplained(t)
	case t.State == "aborted" && strings.HasPrefix(t.Reason, "superseded by run "):
		return o.notSuperseded(t)
	case t.Epoch == 0:
		return "" // stopped before it began, by a user or a sibling
	case t.Spec.Omitted != "":
		return "it was not to run: " + t.Spec.Omitted
	case o.isLate(t.Spec.When) && !o.met(t, t.Spec.When):
		return "its condition is not met: " + t.Spec.When.Expr
	}
	for _, name := range t.Spec.Needs {
		if need := o.runs[t.Run][name]; o.failed(need) && !t.Always {
			return fmt.Sprintf("it needs %s, which is %s (%s)", name, need.State, need.Reason)
		}
	}
	return o.misstepped(t)
}

// misstepped says which step of a task that succeeded is not as its plan says.
func (o *omissions) misstepped(t *tracedTask) string {
	if t.State != "succeeded" {
		return "" // how far it came depends on when it ended
	}
	if len(t.Steps) != len(t.Spec.Steps) {
		return fmt.Sprintf("it has %d steps, its plan %d", len(t.Steps), len(t.Spec.Steps))
	}
	for i, step := range t.Spec.Steps {
		want := "succeeded"
		if o.isLate(step.When) && !o.met(t, step.When) || step.When != nil && step.When.Verdict == "false" {
			want = "skipped"
		}
		if t.Steps[i] != want {
			return fmt.Sprintf("step %s is %s, not %s", step.Name, t.Steps[i], want)
		}
	}
	return ""
}

// unexplained says why the reason of a task that was skipped is none.
func (o *omissions) unexplained(t *tracedTask) string {
	kind, other, _ := strings.Cut(t.Reason, ": ")
	before := o.runs[t.Run][other]
	switch {
	case t.Spec.Omitted != "":
		return unless(t.Reason == t.Spec.Omitted, "its plan says "+t.Spec.Omitted)
	case kind == "need_failed":
		return unless(slices.Contains(t.Spec.Needs, other) && o.failed(before) && !t.Always, "that need did not fail")
	case kind == "concurrency":
		return unless(other == t.Group && t.OnConflict == "skip", "it was to wait for its group")
	case kind == "nothing_failed":
		return unless(t.OnFailure && t.Worst < severities["failed"], "something has failed before")
	case kind == "stage_failed" || kind == "stage_aborted":
		return unless(t.Worst >= severities["aborted"] && !t.Always, "no stage before has failed")
	case kind == "task_failed" || kind == "task_aborted":
		// A stage that is for failures does not begin in a run that is aborted: then nothing of it runs, whatever is marked always.
		return unless(before != nil && before.Stage == t.Stage && before.State == strings.TrimPrefix(kind, "task_") && (!t.Always || t.OnFailure), "that task did not fail beside it")
	case kind == "run_aborted":
		return unless(t.RunState == "aborted" || t.RunState == "failed", "its run was not aborted")
	case o.isLate(t.Spec.When):
		return unless(!o.met(t, t.Spec.When), "its condition is met: "+t.Spec.When.Expr)
	}
	return "that is no reason"
}

var severities = map[string]int{"skipped": 0, "succeeded": 1, "unstable": 2, "aborted": 3, "failed": 4}

func unless(right bool, wrong string) string {
	if right {
		return ""
	}
	return wrong
}

// failed says whether a task ended so that those who need it do not run. What a condition leaves out counts as done.
func (o *omissions) failed(t *tracedTask) bool {
	switch {
	case t == nil:
		return false
	case t.State == "failed", t.State == "aborted":
		return !t.AllowFailure || t.State == "aborted" && t.Reason != ""
	case t.State == "skipped":
		return t.Spec.Omitted == "" && (!o.isLate(t.Spec.When) || o.met(t, t.Spec.When))
	}
	return false
}

func (o *omissions) isLate(w *tracedWhen) bool { return w != nil && w.Verdict == "later" }

var asks = regexp.MustCompile(`^outputs\[\?"([^"]+)"\]`)

// met decides the only kind of condition that the load has: see late.
func (o *omissions) met(t *tracedTask, w *tracedWhen) bool {
	found := asks.FindStringSubmatch(w.Expr)
	if found == nil {
		return false
	}
	said := o.runs[t.Run][found[1]]
	return said != nil && said.Outputs[output] == goes
}

// notSuperseded says why no newer run can have taken a task's place in its group.
func (o *omissions) notSuperseded(t *tracedTask) string {
	newer, err := strconv.ParseInt(strings.TrimPrefix(t.Reason, "superseded by run "), 10, 64)
	if err != nil || newer <= t.Run {
		return "that run is not newer"
	}
	for _, by := range o.runs[newer] {
		if by.Group == t.Group && t.Group != "" && (by.OnConflict == "abort_older" || t.OnConflict == "abort_older") {
			return ""
		}
	}
	return "that run has no such task in its group"
}
