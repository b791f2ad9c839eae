package transitions_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/db"
)

// runIn starts a run of a plan in a project, and gives its number.
func (w *world) runIn(project, plan string) int64 {
	w.t.Helper()
	return must[db.Run](w.t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: project, Plan: &plan, Actor: "test"})).ID
}

// many is an Ottofile of so many tasks that are ready at once.
func many(count int, keys string) string {
	var b strings.Builder
	b.WriteString("stages:\n  - parallel:\n")
	for i := range count {
		fmt.Fprintf(&b, "      - {task: t%d, %s steps: [{sh: a}]}\n", i, keys)
	}
	return b.String()
}

// claim is task_lease as the dispatcher calls it.
func (w *world) claim(slots ...int64) []db.Lease {
	w.t.Helper()
	return must[[]db.Lease](w.t)(w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: slots, Actor: "t"}))
}

// next works one task off, on an agent with one slot, and names its project.
func (w *world) next(agent int64) string {
	w.t.Helper()
	l := w.leaseOne(agent)
	w.finish(l, "succeeded")
	return w.text("select p.name from runs r join projects p on p.id = r.project_id where r.id = $1", l.RunID)
}

// A project's ten thousand tasks delay the first task of another by one task, and then the two take turns.
func TestFairBetweenProjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	big := w.plan(many(1000, ""))
	for range 10 {
		w.runIn("big", big)
	}
	for range 3 {
		if got := w.next(agent); got != "big" {
			t.Fatalf("the only project that waits is big, and %s got the agent", got)
		}
	}
	w.runIn("small", w.plan(many(1, "")))
	if got := w.next(agent); got != "small" {
		t.Errorf("the first task of a project waits behind those of %s", got)
	}
	w.runIn("late", w.plan(many(20, "")))
	var order []string
	for range 12 {
		order = append(order, w.next(agent))
	}
	if got := strings.Join(order, " "); got != strings.TrimSpace(strings.Repeat("late big ", 6)) {
		t.Errorf("they do not take turns: %s", got)
	}
}

// Who notes what projects have got keeps nobody waiting: what is granted meanwhile is not noted.
func TestClaimsDoNotWaitForShares(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	for _, project := range []string{"one", "two"} {
		w.runIn(project, w.plan(many(2, "")))
	}
	noting := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer func() { _ = noting.Rollback(w.ctx()) }()
	must[pgconn.CommandTag](t)(noting.Exec(w.ctx(), "select from pools for no key update"))
	claiming := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
	defer func() { _ = claiming.Rollback(w.ctx()) }()
	must[pgconn.CommandTag](t)(claiming.Exec(w.ctx(), "set local lock_timeout = '10s'"))
	if got := must[[]db.Lease](t)(db.New(claiming).TaskLease(w.ctx(), db.TaskLeaseParams{Slots: []int64{agent, agent}, Actor: "t"})); len(got) != 2 {
		t.Errorf("%d tasks were granted, want 2", len(got))
	}
}

// A project of twice the weight gets twice as much, while both wait.
func TestFairByWeight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan := w.plan(many(100, ""))
	for _, project := range []string{"one", "two"} {
		w.runIn(project, plan)
	}
	w.exec("update projects set weight = 2 where name = 'two'")
	count := map[string]int{}
	for range 30 {
		count[w.next(agent)]++
	}
	if count["two"] != 20 || count["one"] != 10 {
		t.Errorf("%v, want 20 of the heavier and 10 of the other", count)
	}
	for range 10 { // and where many slots are free at once
		for _, l := range w.claim(slices.Repeat([]int64{agent}, 3)...) {
			count[w.text("select p.name from runs r join projects p on p.id = r.project_id where r.id = $1", l.RunID)]++
		}
	}
	if count["two"] != 40 || count["one"] != 20 {
		t.Errorf("%v, want 40 and 20", count)
	}
}

// What a project got while nobody else wanted anything is no debt: one that comes later does not shut it out.
func TestNoDebtOfQuietTimes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.runIn("a", w.plan(many(60, "")))
	for range 20 {
		w.next(agent)
	}
	w.runIn("b", w.plan(many(30, "")))
	w.next(agent)
	w.next(agent)
	w.exec("update tasks set state = 'aborted', finished_at = otto.clock() where state = 'ready' and project_id = (select id from projects where name = 'a')")
	for range 15 {
		w.next(agent)
	}
	w.runIn("a", w.plan(many(60, "")))
	var order []string
	for range 6 {
		order = append(order, w.next(agent))
	}
	if got := strings.Count(strings.Join(order, " "), "a"); got != 3 {
		t.Errorf("of six, a got %d: %v", got, order)
	}
}

// Priority decides within a project, and a minute of waiting is worth a point.
func TestPriorityAges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	plan := w.plan("steps: [{sh: a}]")
	start := func(priority int32) int64 {
		return must[db.Run](t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Plan: &plan, Actor: "t", Priority: &priority})).ID
	}
	low, normal, high := start(-5), start(0), start(5)
	old := start(-5)
	w.exec("update tasks set ready_at = ready_at - interval '11 minutes' where run_id = $1", old)
	for i, want := range []int64{old, high, normal, low} {
		if got := w.leaseOne(agent).RunID; got != want {
			t.Errorf("grant %d went to run %d, want run %d", i+1, got, want)
		}
	}
	w.runIn("q", plan)
	start(100)
	start(100)
	if got := w.next(agent) + w.next(agent); !strings.Contains(got, "q") {
		t.Errorf("a project's priority shuts out another project: %s", got)
	}
	w.next(agent)
	again := must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: start(7), Actor: "t"}))
	if got := must[db.Run](t)(w.q.RunRerun(w.ctx(), db.RunRerunParams{Run: again.ID, Actor: "t"})).Priority; got != 7 {
		t.Errorf("a rerun has priority %d", got)
	}
}

// An agent gets tasks while what they reserve together fits what it offers.
func TestReservations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		offers, requires string
		want             int
	}{
		"cores":         {`{"cores": 4}`, "requires: {cores: 1.5},", 2},
		"memory":        {`{"cores": 64, "memory": 8589934592}`, "requires: {memory: 3GiB},", 2},
		"both":          {`{"cores": 4, "memory": 8589934592}`, "requires: {cores: 1, memory: 3GiB},", 2},
		"old_memory":    {`{"memory_gb": 8}`, "requires: {memory_gb: 2},", 4},
		"nothing":       {`{"cores": 1}`, "", 6},
		"not_so_much":   {`{"cores": 4}`, "requires: {cores: 5},", 0},
		"is_not_said":   {`{}`, "requires: {cores: 1},", 0},
		"slots_as_well": {`{"cores": 64}`, "requires: {cores: 1},", 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			agent := w.agent(c.offers)
			run := w.run(many(7, c.requires))
			got := w.claim(slices.Repeat([]int64{agent}, 6)...)
			if len(got) != c.want || c.want < 6 && len(w.claim(agent)) > 0 {
				t.Fatalf("%d leases, want %d and then no more", len(got), c.want)
			}
			if c.want == 0 || c.want == 6 {
				return
			}
			l := held{Lease: got[0]}
			w.start(l)
			w.finish(l, "succeeded")
			if n := len(w.claim(agent, agent)); n != 1 {
				t.Errorf("one has ended, and %d leases follow", n)
			}
			must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
		})
	}
}

// What does not find room leaves the slot to what does, and nobody is given more slots than it asked for.
func TestReservationsLeaveRoomToOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	small, large := w.agent(`{"cores": 2}`), w.agent(`{"cores": 8}`)
	w.run(many(2, "requires: {cores: 2},"))
	if got := w.claim(small, large); len(got) != 2 || got[0].AgentID == got[1].AgentID {
		t.Fatalf("two tasks for two agents: %+v", got)
	}
	w.run(many(3, "requires: {cores: 1},"))
	w.run(many(3, ""))
	got := w.claim(small, small)
	if len(got) != 2 || w.count("select count(*) from leases where cores is null and agent_id = $1", small) != 2 {
		t.Errorf("an agent without a core left gets what reserves nothing: %+v", got)
	}
	if got := w.claim(large); len(got) != 1 {
		t.Errorf("one slot: %+v", got)
	}
}

// Eight claim for one agent at once: together they reserve no more than it has.
func TestReservationsUnderContention(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(8)
	agent := w.agent(`{"cores": 3, "memory": 1000000000}`)
	for range 15 {
		run := w.run(many(8, "requires: {cores: 1, memory: 300M},"))
		var granted atomic.Int32
		var mu sync.Mutex
		var leases []db.Lease
		contend(t, 8, func(int) error {
			ls, err := w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})
			granted.Add(int32(len(ls)))
			mu.Lock()
			defer mu.Unlock()
			leases = append(leases, ls...)
			return err
		})
		for len(leases) < 3 { // those that met gave way
			ls := w.claim(agent)
			if len(ls) == 0 {
				t.Fatalf("%d leases, and no more", len(leases))
			}
			leases = append(leases, ls...)
		}
		if len(leases) != 3 || len(w.claim(agent)) != 0 {
			t.Fatalf("%d leases on three cores", len(leases))
		}
		must[db.Run](t)(w.q.RunAbort(w.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	}
}

// An agent that has worked for a project is preferred for it, and nothing waits for that.
func TestWarmAgentsArePreferred(t *testing.T) {
	t.Parallel()
	for name, offers := range map[string]string{"plain": `{}`, "with_rooms": `{"cores": 8}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			requires := map[string]string{"plain": "", "with_rooms": "requires: {cores: 1},"}[name]
			one, two, three := w.agent(offers), w.agent(offers), w.agent(offers)
			p := w.plan(many(1, requires))
			w.runIn("p", p)
			w.runIn("q", p)
			id := func(project string) int64 { return int64(w.count("select id from projects where name = $1", project)) }
			warm := []int64{0, id("q"), id("p")}
			got := must[[]db.Lease](t)(w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: []int64{one, two, three}, Warm: warm, Actor: "t"}))
			if len(got) != 2 {
				t.Fatalf("%d leases", len(got))
			}
			for _, l := range got {
				of := w.text("select p.name from runs r join projects p on p.id = r.project_id where r.id = $1", l.RunID)
				if want := map[string]int64{"q": two, "p": three}[of]; l.AgentID != want || l.Warm == nil || !*l.Warm {
					t.Errorf("the task of %s went to agent %d, want %d; warm %v", of, l.AgentID, want, l.Warm)
				}
			}
			w.runIn("p", w.plan(many(3, requires)))
			got = must[[]db.Lease](t)(w.q.TaskLease(w.ctx(), db.TaskLeaseParams{Slots: []int64{one, two, three}, Warm: warm, Actor: "t"}))
			if warm := w.count("select count(*) from leases where warm and run_id = $1", got[0].RunID); len(got) != 3 || warm != 1 {
				t.Errorf("%d of three tasks were handed out, %d of them to the agent that is warm", len(got), warm)
			}
			if w.count("select count(*) from events where kind = 'task.scheduled' and (data ->> 'warm')::boolean") != 3 {
				t.Error("the events do not say so")
			}
		})
	}
}

// An agent that works says what it offers now, and keeps its work; saying it again is no event.
func TestAgentOffer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{"os": "linux"}`)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(agent)
	w.run(`stages: [{stage: a, requires: {go: ">=1.26"}, steps: [{sh: a}]}]`)
	if got := w.claim(agent); len(got) != 0 {
		t.Fatal("it has no go yet")
	}
	for range 2 {
		must[db.Agent](t)(w.q.AgentOffer(w.ctx(), db.AgentOfferParams{Agent: agent, Offers: []byte(`{"os": "linux", "go": "1.26.8"}`), Actor: "t"}))
	}
	if n := w.count("select count(*) from events where kind = 'agent.offering'"); n != 1 {
		t.Errorf("%d events", n)
	}
	if got := w.claim(agent); len(got) != 1 || w.task(l.TaskID).State != "running" {
		t.Errorf("%d leases; the task that it had is %s", len(got), w.task(l.TaskID).State)
	}
}
