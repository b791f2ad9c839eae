package transitions_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/pipeline"
)

// A world is a database with agents, driven by the transitions alone.
type world struct {
	t  testing.TB
	db *dbtest.Database
	q  *db.Queries
}

func newWorld(t testing.TB) *world {
	t.Helper()
	d := dbtest.Open(t)
	w := &world{t: t, db: d, q: db.New(d.App)}
	w.beat()
	return w
}

func (w *world) ctx() context.Context { return context.WithoutCancel(w.t.Context()) }

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) beat() { must[db.Cluster](w.t)(w.q.ServerBeat(w.ctx(), "api")) }

// agent enrols an agent that offers what is given as JSON.
func (w *world) agent(offers string) int64 {
	w.t.Helper()
	hash := func() []byte { a, b := uuid.New(), uuid.New(); return append(a[:], b[:]...) }
	token := must[db.Token](w.t)(w.q.TokenCreate(w.ctx(), db.TokenCreateParams{Hash: hash(), Kind: "enrol", Role: "enrol", Name: "e", Actor: "test"}))
	a := must[db.Agent](w.t)(w.q.AgentEnrol(w.ctx(), db.AgentEnrolParams{
		Enrol: token.ID, Hash: hash(), Name: fmt.Sprint("agent-", token.ID), Capacity: 100, Offers: json.RawMessage(offers), Actor: "test",
	}))
	return a.ID
}

// plan stores the plan of an Ottofile and gives its digest.
func (w *world) plan(ottofile string) string {
	w.t.Helper()
	return w.planWith(ottofile, func(*pipeline.Plan) {})
}

// planWith stores it with a change.
func (w *world) planWith(ottofile string, change func(*pipeline.Plan)) string {
	w.t.Helper()
	p, ds := pipeline.Compile(pipeline.File{Name: "Ottofile.yaml", Data: []byte(ottofile)}, pipeline.Facts{})
	if ds.HasErrors() {
		w.t.Fatal(ds)
	}
	change(p)
	body, digest, err := p.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	must[db.Plan](w.t)(w.q.PlanStore(w.ctx(), db.PlanStoreParams{Digest: digest, Body: body}))
	return digest
}

// change is planWith's for tasks, by their names.
func change(tasks map[string]func(*pipeline.Task)) func(*pipeline.Plan) {
	return func(p *pipeline.Plan) {
		for i := range p.Stages {
			for j := range p.Stages[i].Tasks {
				if f := tasks[p.Stages[i].Tasks[j].Name]; f != nil {
					f(&p.Stages[i].Tasks[j])
				}
			}
		}
	}
}

// run starts a run of an Ottofile.
func (w *world) run(ottofile string) int64 { return w.runPlan(w.plan(ottofile)) }

func (w *world) runPlan(digest string) int64 {
	w.t.Helper()
	return must[db.Run](w.t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Plan: &digest, Actor: "test"})).ID
}

// A held lease, with the name of its task.
type held struct {
	db.Lease
	name string
}

// lease takes up to n tasks for an agent.
func (w *world) lease(agent int64, n int) []held {
	w.t.Helper()
	ls := must[[]db.Lease](w.t)(w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: slices.Repeat([]int64{agent}, n), Actor: "test"}))
	var out []held
	for _, l := range ls {
		out = append(out, held{l, w.task(l.TaskID).Name})
	}
	slices.SortFunc(out, func(a, b held) int { return int(a.TaskID - b.TaskID) })
	return out
}

// leaseOne takes one task, which must be there, and starts it.
func (w *world) leaseOne(agent int64) held {
	w.t.Helper()
	ls := w.lease(agent, 1)
	if len(ls) != 1 {
		w.t.Fatal("no task is ready")
	}
	w.start(ls[0])
	return ls[0]
}

func (w *world) start(l held) {
	w.t.Helper()
	must[db.Task](w.t)(w.tryStart(l))
}

func (w *world) tryStart(l held) (db.Task, error) {
	return w.q.TaskStart(w.ctx(), db.TaskStartParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID,
		Steps: json.RawMessage(`[{"index": 0, "state": "running"}]`), Actor: "agent"})
}

// finish reports the outcome of the first step, and with it of the task.
func (w *world) finish(l held, outcome string) db.Task {
	w.t.Helper()
	return must[db.Task](w.t)(w.tryFinish(l, outcome))
}

var codes = map[string]int32{"succeeded": 0, "failed": 1, "aborted": 2, "unstable": 3}

func (w *world) tryFinish(l held, outcome string) (db.Task, error) {
	code := codes[outcome]
	steps := fmt.Sprintf(`[{"index": 0, "state": %q, "exit_code": %d, "duration_ms": 5}]`, outcome, code)
	return w.q.TaskFinish(w.ctx(), db.TaskFinishParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, ExitCode: &code,
		Steps: json.RawMessage(steps), Log: json.RawMessage(`{"chunks": 0, "bytes": 0, "sha256": ""}`), Actor: "agent"})
}

// work runs ready tasks until none is left; outcomes are by task name, succeeded where absent.
func (w *world) work(agent int64, outcomes map[string]string) {
	w.t.Helper()
	for {
		ls := w.lease(agent, 10)
		if len(ls) == 0 {
			return
		}
		for _, l := range ls {
			if _, err := w.tryStart(l); err != nil {
				continue // aborted by a sibling's end
			}
			outcome := outcomes[l.name]
			if outcome == "" {
				outcome = "succeeded"
			}
			w.finish(l, outcome)
		}
	}
}

func (w *world) task(id int64) db.Task {
	w.t.Helper()
	return must[db.TaskByIDRow](w.t)(w.q.TaskByID(w.ctx(), id)).Task
}

func (w *world) runRow(id int64) db.Run {
	w.t.Helper()
	return must[db.RunByIDRow](w.t)(w.q.RunByID(w.ctx(), id)).Run
}

// states is a run in one line: "failed: build=failed[a=failed] deploy=skipped[b=skipped]".
func (w *world) states(run int64) string {
	w.t.Helper()
	tasks := must[[]db.TasksOfRunRow](w.t)(w.q.TasksOfRun(w.ctx(), run))
	out := w.runRow(run).State + ":"
	for _, s := range must[[]db.Stage](w.t)(w.q.StagesOfRun(w.ctx(), run)) {
		var in []string
		for _, t := range tasks {
			if t.Task.StageID == s.ID {
				in = append(in, t.Task.Name+"="+t.Task.State)
			}
		}
		out += fmt.Sprintf(" %s[%s]", s.State, strings.Join(in, " "))
	}
	return out
}

func (w *world) want(run int64, states string) {
	w.t.Helper()
	if got := w.states(run); got != states {
		w.t.Errorf("run %d\n got %s\nwant %s", run, got, states)
	}
}

// kinds lists the kinds of a run's events, in order.
func (w *world) kinds(run int64) []string {
	w.t.Helper()
	var out []string
	for _, e := range w.events(run) {
		out = append(out, e.Kind)
	}
	return out
}

func (w *world) events(run int64) []db.EventsAfterRow {
	w.t.Helper()
	return must[[]db.EventsAfterRow](w.t)(w.q.EventsAfter(w.ctx(), db.EventsAfterParams{Run: &run, AtMost: 100000}))
}

// count runs a query that answers one number, as the superuser.
func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.Owner.QueryRow(w.ctx(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) text(query string, args ...any) (s string) {
	w.t.Helper()
	if err := w.db.Owner.QueryRow(w.ctx(), query, args...).Scan(&s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Owner.Exec(w.ctx(), query, args...); err != nil {
		w.t.Fatalf("%v: %s", err, query)
	}
}

func wantRefusal(t testing.TB, err error, code, text string) {
	t.Helper()
	r, ok := db.AsRefusal(err)
	if !ok || r.Code != code || !strings.Contains(r.Message, text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}
