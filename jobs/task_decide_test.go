package jobs

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/ottoci/otto/db"
)

const deciding = `
stages:
  - stage: build
    outputs: { version: string, size: integer }
    steps: [{ sh: make }]
  - stage: deploy
    when: outputs.build.size < 100
    env: { VERSION: "v${{ outputs.build.version }}" }
    steps:
      - sh: one
        when: outputs.build.version == "1"
      - sh: two
        env: { STATUS: "${{ status }}" }
`

// What a plan leaves open is decided when the task would start, whatever becomes of the job table.
func TestTaskDecide(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	agent := p.knowing()
	source := p.source(map[string]string{"Ottofile.yaml": deciding})
	for name, c := range map[string]struct{ outputs, state, reason, decided string }{
		"runs":      {`{"version": "2", "size": 12}`, "ready", "", `{"/env/VERSION": "v2", "/steps/0/when": false, "/steps/1/env/STATUS": "succeeded"}`},
		"skipped":   {`{"version": "1", "size": 100}`, "skipped", "outputs.build.size < 100 is false", ""},
		"no_output": {`{"version": "1"}`, "failed", "condition: when: ", ""},
		"nothing":   {``, "failed", "condition: when: ", ""},
	} {
		t.Run(name, func(t *testing.T) {
			run := p.run(source, "")
			p.finish(agent, run, c.outputs)
			p.exec("truncate river.river_job") // the reconciler inserts the job again
			task := p.taskOf(run, 1)
			p.eventually("the task is decided", func() bool { task = p.taskOf(run, 1); return task.State != "blocked" && task.State != "waiting" })
			reason := ""
			if task.Reason != nil {
				reason = *task.Reason
			}
			if task.State != c.state || !strings.HasPrefix(reason, c.reason) || c.reason == "" && reason != "" {
				t.Errorf("the task is %s: %s", task.State, reason)
			}
			if c.decided != "" && !sameJSON(t, task.Decided, c.decided) {
				t.Errorf("decided %s", task.Decided)
			}
			if _, err := p.q.RunAbort(t.Context(), db.RunAbortParams{Run: run, Actor: "t"}); err != nil && c.state == "ready" {
				t.Error(err)
			}
		})
	}
}

// A job that comes too late, or twice, or for nothing changes nothing.
func TestTaskDecide_too_late(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	agent := p.knowing()
	run := p.run(p.source(map[string]string{"Ottofile.yaml": deciding}), "")
	p.finish(agent, run, `{"version": "1", "size": 1}`)
	p.eventually("the task is ready", func() bool { return p.taskOf(run, 1).State == "ready" })
	task := p.taskOf(run, 1)
	for _, args := range []string{`{"task": 987654}`, `{"task": ` + jsonOf(t, task.ID) + `}`} {
		p.exec("select otto.enqueue('task_decide', $1)", args)
	}
	p.eventually("the jobs are worked", func() bool {
		var left int
		err := p.db.Owner.QueryRow(t.Context(), "select count(*) from river.river_job where kind = 'task_decide' and state <> 'completed'").Scan(&left)
		return err == nil && left == 0
	})
	if again := p.taskOf(run, 1); again.State != "ready" || string(again.Decided) != string(task.Decided) {
		t.Errorf("the task is %s, decided %s", again.State, again.Decided)
	}
}

func TestStatusOf(t *testing.T) {
	t.Parallel()
	for want, row := range map[string]db.TaskUndecidedRow{
		"succeeded": {RunState: "running", RunSeverity: 0},
		"unstable":  {RunState: "running", RunSeverity: 2},
		"failed":    {RunState: "running", RunSeverity: 4},
		"aborted":   {RunState: "aborting", RunSeverity: 1},
	} {
		if got := statusOf(row); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// knowing enrols an agent of this version.
func (p *plant) knowing() (agent int64) {
	p.t.Helper()
	err := p.db.Owner.QueryRow(p.t.Context(), `insert into agents (name, capacity, offers, enrolled_at, seen_at)
		values ('a', 100, '{"otto.protocol": ["task-2"]}', now(), now()) returning id`).Scan(&agent)
	if err != nil {
		p.t.Fatal(err)
	}
	return agent
}

// finish lets the first task of a run succeed, with outputs.
func (p *plant) finish(agent, run int64, outputs string) {
	p.t.Helper()
	p.eventually("the first task is taken", func() bool {
		leases, err := p.q.TaskLease(p.t.Context(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})
		if err != nil || len(leases) == 0 || leases[0].RunID != run {
			return false
		}
		var said json.RawMessage
		if outputs != "" {
			said = json.RawMessage(outputs)
		}
		_, err = p.q.TaskFinish(p.t.Context(), db.TaskFinishParams{
			Lease: leases[0].ID, Epoch: 1, Agent: agent, Steps: json.RawMessage(`[{"index": 0, "state": "succeeded", "exit_code": 0}]`),
			Log: json.RawMessage(`{"chunks": 0, "bytes": 0, "sha256": ""}`), Actor: "t", Outputs: said,
		})
		if err != nil {
			p.t.Fatal(err)
		}
		return true
	})
}

// taskOf is the only task of a stage of a run.
func (p *plant) taskOf(run int64, stage int) db.Task {
	p.t.Helper()
	tasks, err := p.q.TasksOfRun(p.t.Context(), run)
	if err != nil || len(tasks) <= stage {
		p.t.Fatal(tasks, err)
	}
	return tasks[stage].Task
}

func sameJSON(t *testing.T, a json.RawMessage, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Fatal(err)
	}
	return json.Unmarshal(a, &x) == nil && jsonOf(t, x) == jsonOf(t, y)
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	body, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
