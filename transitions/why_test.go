package transitions_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
)

// whyNode is what task_why answers, and each of its blockers.
type whyNode struct {
	Kind, Text, State, Hint string
	Ahead                   int
	Blockers                []whyNode
}

func (w *world) why(task int64) (why whyNode) {
	w.t.Helper()
	if err := json.Unmarshal(must[json.RawMessage](w.t)(w.q.TaskWhy(w.ctx(), task)), &why); err != nil {
		w.t.Fatal(err)
	}
	return why
}

// lines is the tree as indented lines, without the heads of the task itself.
func (n whyNode) lines(indent string) (text string) {
	for _, b := range n.Blockers {
		text += indent + b.Kind + ": " + b.Text + "\n" + b.lines(indent+"  ")
	}
	return text
}

// grantable says whether task_lease would give a task to any agent with a free slot, if nothing stood before it.
func (w *world) grantable(task int64) bool {
	w.t.Helper()
	tx, err := w.db.Owner.Begin(w.ctx())
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(w.ctx()) }()
	if _, err := tx.Exec(w.ctx(), "update tasks set ready_at = otto.clock() + interval '1 day' where state = 'ready' and id <> $1", task); err != nil {
		w.t.Fatal(err)
	}
	var n int
	const ask = "select count(l.id) from agents a, otto.agent_room(a.id) r, otto.task_lease(array[a.id], 't') l where r.slots > 0 and l.task_id = $1"
	if err := tx.QueryRow(w.ctx(), ask, task).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n > 0
}

// Whatever the agents, pools, tasks and leases are: nothing holds a task back, says why, exactly if it would be handed out.
func TestWhyCannotLie(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agents := []int64{w.agent(`{}`), w.agent(`{}`), w.agent(`{}`)}
	w.exec("insert into pools (name, restricted, created_at) values ('open', false, now()), ('closed', true, now())")
	offers := rapid.SampledFrom([]string{`{}`, `{"os": "linux", "cores": 4}`, `{"os": "linux", "cores": 2, "memory": 1000, "go": "1.26.1"}`, `{"os": "mac", "cores": 8, "memory": 4000}`})
	requires := rapid.SampledFrom([]string{"{}", "{}", "{os: linux}", "{cores: 2}", "{cores: 3}", "{memory: 600B}", `{go: ">=1.26"}`, "{os: plan9}"})
	states := rapid.SampledFrom([]string{"online", "online", "online", "draining", "offline", "disabled"})
	pools := rapid.SampledFrom([]string{"default", "default", "open", "closed", "nowhere"})
	var seen [2]int
	rapid.Check(t, func(rt *rapid.T) {
		w.exec("truncate runs cascade")
		w.exec("delete from pool_projects")
		var b strings.Builder
		b.WriteString("stages:\n  - parallel:\n")
		for i := range 5 {
			fmt.Fprintf(&b, "      - {task: t%d, requires: %s, steps: [{sh: a}]}\n", i, requires.Draw(rt, "requires"))
		}
		b.WriteString("  - {stage: after, steps: [{sh: b}]}\n")
		plan := w.planWith(b.String(), change(tasks{"t3": group(1, pipeline.ConflictWait), "t4": group(1, pipeline.ConflictWait), "t0": needs(), "t1": needs("t0")}))
		runs := []int64{w.runIn("p", plan), w.runIn("q", plan)}
		w.exec("update tasks t set pool = 'open' where id % 3 = $1", rapid.IntRange(0, 3).Draw(rt, "open"))
		w.exec("update tasks t set pool = $1 where index = 2", pools.Draw(rt, "pool of a task"))
		if rapid.Bool().Draw(rt, "allowed") {
			w.exec("insert into pool_projects select 'closed', id from projects where name = 'p'")
		}
		for _, a := range agents {
			w.exec("update agents set state = 'online', offers = $2, capacity = $3, pool = $4 where id = $1", a, offers.Draw(rt, "offers"), rapid.IntRange(1, 2).Draw(rt, "capacity"), pools.Draw(rt, "pool"))
			for range rapid.IntRange(0, 2).Draw(rt, "claims") {
				if w.count("select (otto.agent_room($1)).slots", a) > 0 {
					for _, l := range w.claim(a) {
						if rapid.Bool().Draw(rt, "start") {
							w.start(held{Lease: l})
						}
					}
				}
			}
		}
		for _, a := range agents {
			w.exec("update agents set state = $2 where id = $1", a, states.Draw(rt, "state"))
		}
		w.exec("update tasks set ready_at = ready_at + interval '1 hour' where state = 'ready' and index = $1", rapid.IntRange(0, 5).Draw(rt, "delayed"))
		for _, task := range must[[]int64](t)(idsOf(w, "select id from tasks where run_id = any($1) and state in ('waiting', 'blocked', 'ready')", runs)) {
			why, granted := w.why(task), w.grantable(task)
			seen[map[bool]int{true: 1}[granted]]++
			if (len(why.Blockers) == 0) != granted {
				rt.Fatalf("task %d (%s) is handed out: %v, but why says %q\n%s", task, why.State, granted, why.Text, why.lines("  "))
			}
			if says := why.Text; (why.State == "ready" && strings.HasSuffix(says, "to ask for it")) != granted {
				rt.Fatalf("task %d is handed out: %v, but waits for %q", task, granted, says)
			}
		}
	})
	if slices.Min(seen[:]) == 0 {
		t.Errorf("the test has seen only one answer: %v", seen)
	}
}

// The tree says what a person must know: each agent with what it lacks, and who has what it would need.
func TestWhyTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two, off := w.agent(`{"os": "linux", "cores": 4, "memory": 8589934592}`), w.agent(`{"os": "mac", "cores": 2, "go": "1.24"}`), w.agent(`{}`)
	for name, id := range map[string]int64{"one": one, "two": two, "off": off} {
		w.exec("update agents set name = $2 where id = $1", id, name)
	}
	must[db.Agent](t)(w.q.AgentBye(w.ctx(), db.AgentByeParams{Agent: off, Actor: "t"}))
	holder := w.run("stages: [{stage: holder, requires: {os: linux, cores: 3, memory: 1GiB}, steps: [{sh: a}]}]")
	w.leaseOne(one)
	run := w.run(`stages: [{stage: b, requires: {os: linux, cores: 2, memory: 2GiB}, steps: [{sh: a}]}, {stage: after, steps: [{sh: c}]}]`)
	task, after := w.id(run, "b"), w.id(run, "after")
	want := fmt.Sprintf(`agents: room on an agent: all 1 that fit are busy
  capacity: agent one has 1 cores left, not 2
    lease: task holder (%d) has a slot, 3 cores, 1GiB of memory
  requirement: agent two offers no memory, not memory>=2GiB; os=mac, not os=linux
  offline: agent off is offline
`, w.id(holder, "holder"))
	if got := w.why(task).lines(""); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got, want := w.why(after).lines(""), fmt.Sprintf("stage: stage b is running\n  task: task b (%d) is ready\n", task); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	never := w.id(w.run(`stages: [{stage: x, requires: {go: ">=1.25 <2"}, steps: [{sh: a}]}]`), "x")
	if got := w.why(never); got.Text != "an agent that offers go>=1.25 <2: none of the 2 that are online does, and no other has enrolled that could" ||
		got.Blockers[0].Hint != "start an agent that offers this, or correct what the task requires" {
		t.Errorf("%+v", got)
	}
	w.exec("update tasks set pool = 'gpu' where id = $1", never)
	if got := w.why(never).lines(""); got != "pool: pool gpu, which does not exist\n" {
		t.Error(got)
	}
	_, err := w.q.TaskWhy(w.ctx(), 1<<40)
	wantRefusal(t, err, db.NotFound, "does not exist")
}
