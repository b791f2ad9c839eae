package transitions_test

import "testing"

// A task that its run does not reach says what has failed before it.
func TestSkippedTaskSaysWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{"otto.protocol": ["task-2"]}`)
	const step = ", steps: [{sh: a}]"
	for name, c := range map[string]struct {
		ottofile string
		outcomes map[string]string
		want     map[string]string
	}{
		"stage_before": {"stages: [{stage: a" + step + "}, {stage: b" + step + "}, {stage: c" + step + "}]",
			map[string]string{"a": "failed"}, map[string]string{"b": "stage_failed: a", "c": "stage_failed: a"}},
		"stage_before_aborted": {"stages: [{stage: a" + step + "}, {stage: b" + step + "}]",
			map[string]string{"a": "aborted"}, map[string]string{"b": "stage_aborted: a"}},
		"task_before": {"stages: [{stage: s, tasks: [{task: a, allow_failure: true" + step + "}, {task: b" + step + "}, {task: c" + step + "}]}]",
			map[string]string{"a": "failed", "b": "failed"}, map[string]string{"c": "task_failed: b"}},
		"forgiven_abort": {"stages: [{stage: s, tasks: [{task: a, allow_failure: true" + step + "}, {task: b" + step + "}, {task: c" + step + "}]}]",
			map[string]string{"a": "aborted", "b": "failed"}, map[string]string{"c": "task_failed: b"}},
		"nothing_failed": {"stages: [{stage: a" + step + "}]\non_failure: [{stage: b" + step + "}]", nil, map[string]string{"b": "nothing_failed"}},
		"task_before_after_a_failure": {"stages: [{stage: a" + step + "}]\non_failure: [{stage: s, tasks: [{task: b" + step + "}, {task: c" + step + "}]}]",
			map[string]string{"a": "failed", "b": "failed"}, map[string]string{"c": "task_failed: b"}},
		"nothing_to_say": {"stages: [{stage: a" + step + "}]", nil, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			run := w.run(c.ottofile)
			w.work(agent, c.outcomes)
			for task, reason := range c.want {
				if n := w.count(`select count(*) from tasks t join events e on e.task_id = t.id and e.kind = 'task.skipped' and e.data ->> 'reason' = t.reason
					where t.run_id = $1 and t.name = $2 and t.state = 'skipped' and t.reason = $3`, run, task, reason); n != 1 {
					t.Errorf("%s: %s", task, w.text("select coalesce(reason, '') from tasks where run_id = $1 and name = $2", run, task))
				}
			}
			if n := w.count("select count(*) from tasks where run_id = $1 and state = 'skipped'", run); n != len(c.want) {
				t.Errorf("%d tasks are skipped", n)
			}
		})
	}
}
