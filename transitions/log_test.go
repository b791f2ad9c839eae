package transitions_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

func (w *world) append(l held, seq int, data string) (int32, error) {
	return w.q.LogAppend(w.ctx(), db.LogAppendParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Seq: int32(seq), Bytes: int32(len(data)),
		Lines: 1, Segments: json.RawMessage(`[]`), Data: []byte(data)})
}

func (w *world) finishWithLog(l held, chunks, bytes int) {
	w.t.Helper()
	must[db.Task](w.t)(w.q.TaskFinish(w.ctx(), db.TaskFinishParams{Lease: l.ID, Epoch: l.Epoch, Agent: l.AgentID, Steps: json.RawMessage(`[]`),
		Log: json.RawMessage(fmt.Sprintf(`{"chunks": %d, "bytes": %d, "sha256": "x"}`, chunks, bytes)), Actor: "agent"}))
}

// compactions is how many logs are due to be compacted.
func (w *world) compactions() int {
	w.t.Helper()
	return len(must[[]db.Lease](w.t)(w.q.LogsDone(w.ctx(), db.LogsDoneParams{AtMost: 100})))
}

func TestLogAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(agent)
	want := func(seq int, data string, next int32) {
		t.Helper()
		if got := must[int32](t)(w.append(l, seq, data)); got != next {
			t.Errorf("chunk %d: wants %d next, want %d", seq, got, next)
		}
	}
	want(0, "one\n", 1)
	want(0, "one\n", 1)   // repeated
	want(2, "three\n", 1) // too early
	want(1, "two\n", 2)
	_, err := w.append(l, 0, "other\n")
	wantRefusal(t, err, db.Conflict, "was sent before with other bytes")

	w.finishWithLog(l, 4, 14)
	if n := w.compactions(); n != 0 {
		t.Error("compacted before the log was complete")
	}
	want(2, "three\n", 3) // after the result
	want(2, "three\n", 3)
	want(3, "", 4) // the last holds marks only
	if n := w.compactions(); n != 1 {
		t.Errorf("%d compactions, want 1", n)
	}
	_, err = w.append(l, 4, "more\n")
	wantRefusal(t, err, db.Conflict, "is over (finished): cannot append to its log")

	must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: l.ID, Object: "logs/x", IndexAt: 3}))
	if again := must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: l.ID, Object: "logs/y", IndexAt: 3})); len(again) != 0 {
		t.Error("compacted twice")
	}
	if n := w.count("select count(*) from log_chunks"); n != 0 {
		t.Errorf("%d chunks left", n)
	}
}

// A batch takes the next chunk of each log, and leaves out all others.
func TestLogsAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t).widen(4)
	agent, other := w.agent(`{}`), w.agent(`{}`)
	var ls []held
	for range 4 {
		w.run("steps: [{sh: a}]")
		ls = append(ls, w.leaseOne(agent))
	}
	chunk := func(l held, seq int, data string) map[string]any {
		return map[string]any{"lease": l.ID, "epoch": l.Epoch, "agent": l.AgentID, "seq": seq, "bytes": len(data), "lines": 1, "segments": []int{}, "data": []byte(data)}
	}
	foreign, late := ls[2], ls[2]
	foreign.AgentID, late.Epoch = other, 2
	beating := must[pgx.Tx](t)(w.db.Owner.Begin(w.ctx()))
	defer beating.Rollback(w.ctx())
	must[any](t)(beating.Exec(w.ctx(), "update leases set expires_at = expires_at where id = $1", ls[3].ID))
	take := func(chunks ...map[string]any) map[uuid.UUID]int32 {
		next := map[uuid.UUID]int32{}
		for _, row := range must[[]db.ReportsTakeRow](t)(w.q.ReportsTake(w.ctx(), db.ReportsTakeParams{Starts: none, Logs: encoded(t, chunks), Finishes: none})) {
			next[row.Lease] = row.Next
		}
		return next
	}
	long := strings.Repeat("x", 20_000)
	got := take(chunk(ls[0], 0, "one\n"), chunk(ls[0], 1, "two\n"), chunk(ls[1], 0, long), chunk(foreign, 0, "f"), chunk(late, 0, "l"), chunk(ls[2], 1, "early"), chunk(ls[3], 0, "held"))
	if len(got) != 2 || got[ls[0].ID] != 1 || got[ls[1].ID] != 1 {
		t.Errorf("took %v", got)
	}
	if got := take(chunk(ls[0], 0, "one\n"), chunk(ls[1], 1, "end\n")); len(got) != 1 || got[ls[1].ID] != 2 {
		t.Errorf("then took %v", got)
	}
	rows := must[[]db.LogChunksRow](t)(w.q.LogChunks(w.ctx(), db.LogChunksParams{Lease: ls[1].ID, AtMost: 10}))
	if len(rows) != 2 || string(rows[0].Data) != long || rows[1].FirstByte != 20_000 || rows[1].FirstLine != 1 || string(rows[1].Data) != "end\n" {
		t.Errorf("stored %d chunks", len(rows))
	}
	if err := beating.Rollback(w.ctx()); err != nil {
		t.Fatal(err)
	}
	w.finishWithLog(ls[1], 2, 20_004)
	w.finishWithLog(ls[0], 2, 8)
	if n := w.compactions(); n != 1 {
		t.Errorf("%d logs are complete, want 1", n)
	}
	if got := take(chunk(ls[0], 1, "two\n"), chunk(ls[1], 2, "more")); len(got) != 1 || w.compactions() != 2 {
		t.Errorf("after the ends took %v, %d logs are complete", got, w.compactions())
	}
}

// Data of any size come back as they were, also those from before they were cut into parts.
func TestLogParts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(w.agent(`{}`))
	var want []string
	for seq, size := range []int{0, 1, 7999, 8000, 8001, 16_000, 250_000} {
		data := strings.Repeat(fmt.Sprint(seq), size)
		want = append(want, data)
		for range 2 {
			if next := must[int32](t)(w.append(l, seq, data)); next != int32(seq+1) {
				t.Errorf("%d bytes: chunk %d is wanted", size, next)
			}
		}
		if size > 0 {
			_, err := w.append(l, seq, data[1:]+"x")
			wantRefusal(t, err, db.Conflict, "was sent before with other bytes")
		}
	}
	w.exec("update log_chunks set data = 'inline' where seq = 3")
	w.exec("delete from log_parts where seq = 3")
	want[3] = "inline"
	rows := must[[]db.LogChunksRow](t)(w.q.LogChunks(w.ctx(), db.LogChunksParams{Lease: l.ID, AtMost: 10}))
	if len(rows) != len(want) {
		t.Fatalf("%d chunks, want %d", len(rows), len(want))
	}
	for i, row := range rows {
		if string(row.Data) != want[i] {
			t.Errorf("chunk %d has %d bytes, want %d", i, len(row.Data), len(want[i]))
		}
	}
	first := must[[]db.LogChunksRow](t)(w.q.LogChunks(w.ctx(), db.LogChunksParams{Lease: l.ID, FromSeq: 2, AtMost: 10, MostBytes: 8000}))
	if len(first) != 2 || first[0].Seq != 2 {
		t.Errorf("%d chunks begin within 8000 bytes of chunk 2, want 2", len(first))
	}
	w.finishWithLog(l, len(want), 1)
	must[[]db.Lease](t)(w.q.LogCompact(w.ctx(), db.LogCompactParams{Lease: l.ID, Object: "logs/x", IndexAt: 3}))
	if n := w.count("select count(*) from log_parts"); n != 0 {
		t.Errorf("%d parts left", n)
	}
}

// Scenario L6: chunks of a lost lease are refused; its log is kept and compacted.
func TestLogOfLostLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(w.agent(`{}`))
	must[int32](t)(w.append(l, 0, "one\n"))
	w.expire(l)
	_, err := w.append(l, 1, "two\n")
	wantRefusal(t, err, db.Conflict, "is over (interrupted)")
	if w.compactions() != 1 {
		t.Error("the log of the lost attempt is not compacted")
	}
}

// An emptied job table is harmless: reconciling brings back every job that the state asks for, once.
func TestReconcile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	w.run("steps: [{sh: a}]")
	l := w.leaseOne(agent)
	must[int32](t)(w.append(l, 0, "one\n"))
	w.finishWithLog(l, 1, 4)
	silent := w.run("steps: [{sh: b}]")
	l = w.leaseOne(agent)
	must[int32](t)(w.append(l, 0, "one\n"))
	w.finishWithLog(l, 9, 100) // the rest never comes
	source := "sha256:" + fmt.Sprintf("%064d", 0)
	must[db.Source](t)(w.q.SourceStore(w.ctx(), db.SourceStoreParams{Digest: source, Actor: "t"}))
	must[db.Run](t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Source: &source, Actor: "t"}))
	w.runOf(source) // aborted: nothing is to be planned any more
	w.exec("truncate river.river_job")

	dbtest.AdvanceClock(t, w.db, time.Minute)
	for range 2 {
		must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	}
	if p, c := w.count("select count(*) from river.river_job"), w.compactions(); p != 1 || c != 1 {
		t.Errorf("%d plannings, %d compactions; want 1 and 1", p, c)
	}
	dbtest.AdvanceClock(t, w.db, 20*time.Minute)
	w.judgeSoon()
	w.exec("update cluster set judge_from = otto.clock() - interval '20 minutes'")
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	if n := w.count("select count(*) from events where kind = 'log.truncated' and run_id = $1", silent); n != 1 {
		t.Error("a log whose rest never comes is waited for without end")
	}
}

// The job of a worker that died is inserted again before River notices the death.
func TestReconcileAfterDeadWorker(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	source := "sha256:" + fmt.Sprintf("%064d", 0)
	must[db.Source](t)(w.q.SourceStore(w.ctx(), db.SourceStoreParams{Digest: source, Actor: "t"}))
	must[db.Run](t)(w.q.RunCreate(w.ctx(), db.RunCreateParams{Project: "p", Source: &source, Actor: "t"}))
	dbtest.AdvanceClock(t, w.db, time.Minute)
	for _, c := range []struct {
		since string
		jobs  int
	}{{"10 seconds", 1}, {"2 minutes", 2}} {
		w.exec("update river.river_job set state = 'running', attempted_at = now() - $1::interval where kind = 'source_plan'", c.since)
		must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
		if n := w.count("select count(*) from river.river_job where kind = 'source_plan'"); n != c.jobs {
			t.Errorf("worked on for %s: %d jobs, want %d", c.since, n, c.jobs)
		}
	}
	w.exec("update river.river_job set state = 'discarded', finalized_at = now()")
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	if n := w.count("select count(*) from river.river_job where state = 'available'"); n != 1 {
		t.Errorf("after River gave them up, %d jobs wait, want 1", n)
	}
}

// A run that nothing could move any more is repaired. No transition makes one; here somebody with psql did.
func TestRepair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	run := w.run(three)
	w.exec("update tasks set state = 'succeeded', finished_at = now() where run_id = $1 and state = 'ready'", run)
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	w.work(agent, nil)
	if got := w.runRow(run).State; got != "succeeded" {
		t.Errorf("run is %s: %s", got, w.states(run))
	}
}

// A repair counts what is not over, and leaves alone what is: stages that are final, and those that have not begun.
func TestRepairKeepsOtherStages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent := w.agent(`{}`)
	digest := "sha256:" + fmt.Sprintf("%064d", 8)
	task := func(name string) string {
		return fmt.Sprintf(`[{"name": %q, "timeout_ms": 1000, "steps": [{"name": "s"}]}]`, name)
	}
	must[db.Plan](t)(w.q.PlanStore(w.ctx(), db.PlanStoreParams{Digest: digest, Body: json.RawMessage(`{"stages": [
		{"name": "a", "mode": "parallel", "tasks": ` + task("a") + `}, {"name": "b", "mode": "parallel", "tasks": ` + task("b") + `},
		{"name": "none", "mode": "parallel", "tasks": []}, {"name": "c", "mode": "parallel", "tasks": ` + task("c") + `}]}`)}))
	run := w.runPlan(digest)
	w.finish(w.leaseOne(agent), "succeeded")
	w.exec("update tasks set state = 'succeeded', finished_at = now() where run_id = $1 and name = 'b'", run)
	w.exec("update stages set severity = 1 where run_id = $1 and index = 1", run)
	w.exec("update tasks set state = 'waiting', finished_at = null where run_id = $1 and name = 'a'", run)
	must[db.RunReconcileRow](t)(w.q.RunReconcile(w.ctx(), "t"))
	w.want(run, "running: succeeded[a=waiting] succeeded[b=succeeded] succeeded[] running[c=ready]")
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec("delete from events")
	days := func() int32 { return must[int32](t)(w.q.PartitionMaintain(w.ctx(), 7)) }
	if made := days(); made != 16 {
		t.Errorf("made %d partitions, want 8 days of 2 tables", made)
	}
	if made := days(); made != 0 {
		t.Errorf("made %d partitions again", made)
	}
	w.run("steps: [{sh: a}]")
	if n := w.count("select count(*) from events_default"); n != 0 {
		t.Errorf("%d events fell into the default partition", n)
	}
	dbtest.AdvanceClock(t, w.db, 5*24*time.Hour)
	if dropped := must[int32](t)(w.q.PartitionDrop(w.ctx(), 48*time.Hour)); dropped != 3 {
		t.Errorf("dropped %d empty partitions of log chunks, want 3", dropped)
	}
}
