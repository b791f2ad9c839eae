package transitions_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

type tasks = map[string]func(*pipeline.Task)

func omitted(t *pipeline.Task) { t.Omitted = "branch == 'main' is false" }

// What planning omits is skipped from the start, and counts for nothing.
func TestOmitted(t *testing.T) {
	t.Parallel()
	const linear = "stages: [{stage: s, mode: linear, tasks: [{task: a, steps: [{sh: a}]}, {task: b, steps: [{sh: b}]}]}, {stage: c, steps: [{sh: c}]}]"
	for name, c := range map[string]struct {
		ottofile    string
		omit        []string
		outcomes    map[string]string
		begin, want string
	}{
		"one_of_two": {parallel, []string{"a"}, nil, "running: running[a=skipped b=ready] waiting[c=waiting]", "succeeded: succeeded[a=skipped b=succeeded] succeeded[c=succeeded]"},
		"the_first_stage": {three, []string{"a"}, nil, "running: skipped[a=skipped] running[b=ready] waiting[c=waiting]",
			"succeeded: skipped[a=skipped] succeeded[b=succeeded] succeeded[c=succeeded]"},
		"a_later_stage": {three, []string{"b"}, nil, "running: running[a=ready] waiting[b=skipped] waiting[c=waiting]",
			"succeeded: succeeded[a=succeeded] skipped[b=skipped] succeeded[c=succeeded]"},
		"all":          {three, []string{"a", "b", "c"}, nil, "skipped: skipped[a=skipped] skipped[b=skipped] skipped[c=skipped]", "skipped: skipped[a=skipped] skipped[b=skipped] skipped[c=skipped]"},
		"linear_first": {linear, []string{"a"}, nil, "running: running[a=skipped b=ready] waiting[c=waiting]", "succeeded: succeeded[a=skipped b=succeeded] succeeded[c=succeeded]"},
		"linear_last":  {linear, []string{"b"}, nil, "running: running[a=ready b=skipped] waiting[c=waiting]", "succeeded: succeeded[a=succeeded b=skipped] succeeded[c=succeeded]"},
		"always_does_not_override": {cleanup, []string{"z"}, map[string]string{"a": "failed"}, "running: running[a=ready] waiting[b=waiting] waiting[c=waiting] waiting[z=skipped]",
			"failed: failed[a=failed] skipped[b=skipped] skipped[c=skipped] skipped[z=skipped]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			omit := tasks{}
			for _, task := range c.omit {
				omit[task] = omitted
			}
			run := w.runPlan(w.planWith(c.ottofile, change(omit)))
			w.want(run, c.begin)
			w.work(w.agent(`{}`), c.outcomes)
			w.want(run, c.want)
			if n := w.count("select count(*) from tasks where state = 'skipped' and reason = 'branch == ''main'' is false'"); n != len(c.omit) {
				t.Errorf("%d of %d tasks say why they are omitted", n, len(c.omit))
			}
			if n := w.count("select count(*) from events where kind = 'task.skipped' and data ->> 'reason' = 'branch == ''main'' is false'"); n != len(c.omit) {
				t.Errorf("%d of %d events say so", n, len(c.omit))
			}
		})
	}
}

// A plan whose event starts nothing makes a run that is skipped, by either door.
func TestTriggerStartsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for reason, want := range map[string]string{"branch dev does not match main": "on.push.branches: branch dev does not match main", "": "on.push.branches: its event starts nothing"} {
		plan := w.planWith(three, func(p *pipeline.Plan) { p.Trigger = pipeline.Trigger{Filter: "on.push.branches", Reason: reason} })
		source := "sha256:" + plan[7:]
		must[db.Source](t)(w.q.SourceStore(w.ctx(), db.SourceStoreParams{Digest: source, Actor: "t"}))
		pending := must[db.Run](t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Source: &source, Actor: "t"})).ID
		must[db.Run](t)(w.q.RunPlan(w.ctx(), db.RunPlanParams{Run: pending, Plan: plan, Actor: "t"}))
		for _, run := range []int64{w.runPlan(plan), pending} {
			w.want(run, "skipped:")
			if diff := cmp.Diff([]string{"run.created", "run.skipped", "run.completed"}, w.kinds(run)); diff != "" {
				t.Error(diff)
			}
			if r := w.runRow(run); *r.Reason != want || r.FinishedAt == nil || r.StartedAt != nil {
				t.Errorf("run %+v", r)
			}
		}
	}
	starts := w.planWith(three, func(p *pipeline.Plan) { p.Trigger = pipeline.Trigger{Starts: true, Reason: "branch main matches"} })
	w.want(w.runPlan(starts), "running: running[a=ready] waiting[b=waiting] waiting[c=waiting]")
}

// Stages on failure run if the run has failed before them, and only then; they make nothing better.
func TestOnFailure(t *testing.T) {
	t.Parallel()
	onFailure := func(p *pipeline.Plan) {
		p.Stages[1].OnFailure = true
		p.Stages[2].OnFailure = true
		p.Stages[2].Tasks[0].Always = true
	}
	for name, c := range map[string]struct {
		outcomes map[string]string
		want     string
	}{
		"succeeded": {nil, "succeeded: succeeded[a=succeeded] skipped[b=skipped] skipped[c=skipped] succeeded[z=succeeded]"},
		"unstable":  {map[string]string{"a": "unstable"}, "unstable: unstable[a=unstable] skipped[b=skipped] skipped[c=skipped] succeeded[z=succeeded]"},
		"aborted":   {map[string]string{"a": "aborted"}, "aborted: aborted[a=aborted] skipped[b=skipped] skipped[c=skipped] succeeded[z=succeeded]"},
		"failed":    {map[string]string{"a": "failed"}, "failed: failed[a=failed] succeeded[b=succeeded] succeeded[c=succeeded] succeeded[z=succeeded]"},
		"its_own_failure_does_not_stop_the_next": {map[string]string{"a": "failed", "b": "failed"},
			"failed: failed[a=failed] failed[b=failed] succeeded[c=succeeded] succeeded[z=succeeded]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			run := w.runPlan(w.planWith(cleanup, onFailure))
			w.work(w.agent(`{}`), c.outcomes)
			w.want(run, c.want)
		})
	}
	t.Run("not_when_aborting", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		agent := w.agent(`{}`)
		run := w.runPlan(w.planWith(cleanup, onFailure))
		l := w.leaseOne(agent)
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
		w.finish(l, "failed")
		w.work(agent, nil)
		w.want(run, "failed: failed[a=failed] aborted[b=aborted] skipped[c=skipped] succeeded[z=succeeded]")
	})
	t.Run("linear_goes_on_within", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		run := w.runPlan(w.planWith(`stages: [{stage: a, steps: [{sh: a}]}, {stage: s, mode: linear, tasks: [{task: b, steps: [{sh: b}]}, {task: c, steps: [{sh: c}]}]}]`,
			func(p *pipeline.Plan) { p.Stages[1].OnFailure = true }))
		w.work(w.agent(`{}`), map[string]string{"a": "failed"})
		w.want(run, "failed: failed[a=failed] succeeded[b=succeeded c=succeeded]")
	})
}
