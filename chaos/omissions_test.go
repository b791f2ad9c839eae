package main

import (
	"strings"
	"testing"
)

// The oracle takes a reason only where the plan and the others bear it out, and lets nothing run that had one.
func TestOmissions(t *testing.T) {
	t.Parallel()
	asks := &tracedWhen{Expr: late("tells"), Verdict: "later"}
	steps := func(s *tracedSpec, when *tracedWhen) {
		s.Steps = append(s.Steps, struct {
			Name string      `json:"name"`
			When *tracedWhen `json:"when"`
		}{"a", when})
	}
	for name, c := range map[string]struct {
		task   tracedTask
		change func(*tracedTask) // to how it is wrong
		says   string
	}{
		"planned":       {tracedTask{State: "skipped", Reason: "never", Spec: tracedSpec{Omitted: "never"}}, func(t *tracedTask) { t.Reason = "stage_failed: s" }, "its plan says never"},
		"planned_ran":   {tracedTask{State: "succeeded", Epoch: 1}, func(t *tracedTask) { t.Spec.Omitted = "never" }, "was not to run"},
		"begun":         {tracedTask{State: "skipped", Reason: "it is false", Spec: tracedSpec{When: &tracedWhen{late("other"), "later"}}}, func(t *tracedTask) { t.Epoch = 1 }, "had begun"},
		"need":          {tracedTask{State: "skipped", Reason: "need_failed: bad", Spec: tracedSpec{Needs: []string{"bad"}}}, func(t *tracedTask) { t.Spec.Needs = nil }, "did not fail"},
		"need_forgiven": {tracedTask{State: "skipped", Reason: "need_failed: bad", Spec: tracedSpec{Needs: []string{"bad", "forgiven"}}}, func(t *tracedTask) { t.Reason = "need_failed: forgiven" }, "did not fail"},
		"need_always":   {tracedTask{State: "succeeded", Epoch: 1, Always: true, Spec: tracedSpec{Needs: []string{"bad"}}}, func(t *tracedTask) { t.Always = false }, "it needs bad"},
		"need_left_out": {tracedTask{State: "succeeded", Epoch: 1, Spec: tracedSpec{Needs: []string{"out"}}}, func(t *tracedTask) { t.Spec.Needs = []string{"full"} }, "it needs full"},
		"group":         {tracedTask{State: "skipped", Reason: "concurrency: g", Group: "g", OnConflict: "skip"}, func(t *tracedTask) { t.OnConflict = "wait" }, "was to wait"},
		"other_group":   {tracedTask{State: "skipped", Reason: "concurrency: g", Group: "g", OnConflict: "skip"}, func(t *tracedTask) { t.Group = "h" }, "was to wait"},
		"on_failure":    {tracedTask{State: "skipped", Reason: "nothing_failed", OnFailure: true, Worst: 2}, func(t *tracedTask) { t.Worst = 4 }, "something has failed"},
		"stage":         {tracedTask{State: "skipped", Reason: "stage_failed: s", Worst: 4}, func(t *tracedTask) { t.Worst = 2 }, "no stage before"},
		"stage_always":  {tracedTask{State: "skipped", Reason: "stage_failed: s", Worst: 4}, func(t *tracedTask) { t.Always = true }, "no stage before"},
		"sibling":       {tracedTask{State: "skipped", Reason: "task_failed: bad"}, func(t *tracedTask) { t.Stage = 1 }, "did not fail beside it"},
		"sibling_never": {tracedTask{State: "skipped", Reason: "task_failed: bad", Always: true, OnFailure: true}, func(t *tracedTask) { t.OnFailure = false }, "did not fail beside it"},
		"run":           {tracedTask{State: "skipped", Reason: "run_aborted", RunState: "aborted"}, func(t *tracedTask) { t.RunState = "succeeded" }, "was not aborted"},
		"condition":     {tracedTask{State: "skipped", Reason: "it is false", Spec: tracedSpec{When: &tracedWhen{late("other"), "later"}}}, func(t *tracedTask) { t.Spec.When = asks }, "condition is met"},
		"condition_ran": {tracedTask{State: "succeeded", Epoch: 1, Spec: tracedSpec{When: asks}}, func(t *tracedTask) { t.Spec.When = &tracedWhen{late("other"), "later"} }, "condition is not met"},
		"no_reason":     {tracedTask{State: "skipped", Reason: "because", Spec: tracedSpec{When: &tracedWhen{late("nobody"), "later"}}}, func(t *tracedTask) { t.Spec.When = nil }, "no reason"},
		"superseded":    {tracedTask{State: "aborted", Reason: "superseded by run 2", Group: "g"}, func(t *tracedTask) { t.Group = "h" }, "no such task"},
		"by_itself":     {tracedTask{State: "aborted", Reason: "superseded by run 2", Group: "g"}, func(t *tracedTask) { t.Reason = "superseded by run 1" }, "not newer"},
	} {
		o := omissions{runs: map[int64]map[string]*tracedTask{1: {
			"bad": {State: "failed"}, "forgiven": {State: "failed", AllowFailure: true}, "full": {State: "skipped", Reason: "concurrency: g"},
			"out":   {State: "skipped", Reason: "it is false", Spec: tracedSpec{When: &tracedWhen{late("other"), "later"}}},
			"tells": {State: "succeeded", Outputs: map[string]any{output: goes}}, "other": {State: "succeeded", Outputs: map[string]any{output: "no"}},
		}, 2: {"newer": {Group: "g", OnConflict: "abort_older"}}}}
		c.task.Run = 1
		if wrong := o.judge(&c.task); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
		c.change(&c.task)
		if wrong := o.judge(&c.task); !strings.Contains(wrong, c.says) {
			t.Errorf("%s: the oracle says %q, want %q", name, wrong, c.says)
		}
	}

	stepped := tracedTask{Run: 1, State: "succeeded", Epoch: 1, Steps: []string{"succeeded", "skipped"}}
	steps(&stepped.Spec, asks)
	steps(&stepped.Spec, &tracedWhen{late("other"), "later"})
	o := omissions{runs: map[int64]map[string]*tracedTask{1: {"tells": {Outputs: map[string]any{output: goes}}, "other": {}}}}
	for states, says := range map[string]string{"succeeded skipped": "", "succeeded succeeded": "is succeeded, not skipped", "skipped skipped": "is skipped, not succeeded", "succeeded": "has 1 steps"} {
		stepped.Steps = strings.Fields(states)
		if wrong := o.judge(&stepped); (wrong == "") != (says == "") || !strings.Contains(wrong, says) {
			t.Errorf("steps %s: the oracle says %q, want %q", states, wrong, says)
		}
	}
}
