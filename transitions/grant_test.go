package transitions_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// powerful makes the first task of a plan ask for power over its host.
func powerful(c pipeline.Container) func(*pipeline.Plan) {
	return func(p *pipeline.Plan) {
		t := &p.Stages[0].Tasks[0]
		t.Image, t.Container, t.Requires = "a:1", &c, nil
	}
}

// A run whose containers ask for power over their hosts takes a grant of its project, by every door.
func TestPowerTakesAGrant(t *testing.T) {
	t.Parallel()
	for power, asks := range map[string]pipeline.Container{
		"privileged":    {Privileged: true},
		"docker_socket": {DockerSocket: true},
		"host_network":  {HostNetwork: true},
		"host_mounts":   {Mounts: []pipeline.Mount{{Host: "/", At: "/host"}}},
	} {
		t.Run(power, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			plan := w.planWith(three, powerful(asks))
			others := strings.Split(strings.ReplaceAll("privileged docker_socket host_network host_mounts", power, ""), " ")
			for _, grants := range [][]string{nil, others} {
				if grants != nil {
					w.exec("select otto.project_grant('p', array_remove($1::text[], ''), 't')", grants)
				}
				want := "project p has no grant for " + power + ", which containers of the plan ask for"
				_, err := w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Plan: &plan, Actor: "t"})
				if refusal, ok := db.AsRefusal(err); !ok || !strings.Contains(refusal.Error(), want+": cannot run") {
					t.Errorf("with %v: got %v", grants, err)
				}
				planned := w.planned(plan)
				w.want(planned, "failed:")
				if r := w.runRow(planned); *r.Reason != want || r.StartedAt != nil || r.FinishedAt == nil {
					t.Errorf("with %v: got %+v", grants, r)
				}
				if diff := cmp.Diff([]string{"run.created", "run.failed", "run.completed"}, w.kinds(planned)); diff != "" {
					t.Error(diff)
				}
			}
			w.exec("select otto.project_grant('p', array[$1], 't')", power)
			const begun = "running: running[a=ready] waiting[b=waiting] waiting[c=waiting]"
			w.want(w.runPlan(plan), begun)
			w.want(w.planned(plan), begun)
			w.exec("select otto.project_grant('p', '{}', 't')")
			if _, err := w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Plan: &plan, Actor: "t"}); err == nil {
				t.Error("a grant that was taken away still holds")
			}
		})
	}
}

// planned makes a run of a source, and plans it.
func (w *world) planned(plan string) int64 {
	w.t.Helper()
	source := "sha256:" + plan[7:]
	must[db.Source](w.t)(w.q.SourceStore(w.ctx(), db.SourceStoreParams{Digest: source, Actor: "t"}))
	run := must[db.Run](w.t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Source: &source, Actor: "t"})).ID
	must[db.Run](w.t)(w.q.RunPlan(w.ctx(), db.RunPlanParams{Run: run, Plan: plan, Actor: "t"}))
	return run
}

func TestGrant(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.db.App.Exec(w.ctx(), "select otto.project_grant('p', array['root', 'privileged'], 't')"); err == nil || !strings.Contains(err.Error(), "root is no power of containers") {
		t.Errorf("got %v", err)
	}
	w.exec("select otto.project_grant('p', array['privileged', 'host_mounts', 'privileged'], 'psql:ana')")
	if got := w.text("select grants::text from projects where name = 'p'"); got != "{host_mounts,privileged}" {
		t.Errorf("got %s", got)
	}
	if got := w.text("select actor || ' ' || data::text from events where kind = 'project.granted'"); got != `psql:ana {"grants": ["host_mounts", "privileged"], "project": "p"}` {
		t.Errorf("got %s", got)
	}
}

// An agent that does not know of services, of what else a container can be, or of a fallback, is not given such a task.
func TestContainersTakeAnAgentThatKnowsThem(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*pipeline.Task){
		"container": func(t *pipeline.Task) { t.Image, t.Container = "a:1", &pipeline.Container{Pull: "never"} },
		"services":  func(t *pipeline.Task) { t.Image, t.Services = "a:1", []pipeline.Service{{Name: "db", Image: "db:1"}} },
		"fallback":  func(t *pipeline.Task) { t.Image, t.Fallback = "a:1", "host" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.runPlan(w.planWith(three, func(p *pipeline.Plan) { change(&p.Stages[0].Tasks[0]) }))
			if got := w.lease(w.agent(`{"otto.protocol": ["log-zstd", "task-2"]}`), 1); len(got) != 0 {
				t.Error("an older agent was given the task")
			}
			if got := w.lease(w.agent(`{"otto.protocol": ["log-zstd", "task-2", "task-3"]}`), 1); len(got) != 1 {
				t.Error("nobody was given the task")
			}
		})
	}
}
