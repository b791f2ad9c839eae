package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/store"
)

// attic is a plant without workers whose agents have said these texts, each in two chunks: the test moves their logs.
type attic struct {
	*plant
	dir   string
	w     *logCompact
	texts map[uuid.UUID]string
	logs  []uuid.UUID // in the order of the texts
}

func newAttic(t *testing.T, texts ...string) *attic {
	t.Helper()
	d := dbtest.Open(t)
	a := &attic{plant: &plant{t: t, db: d, q: db.New(d.App)}, dir: t.TempDir(), texts: map[uuid.UUID]string{}}
	var err error
	if a.store, err = store.Open(t.Context(), a.dir); err != nil {
		t.Fatal(err)
	}
	a.w = a.worker()
	var tasks []string
	for i := range texts {
		tasks = append(tasks, fmt.Sprintf(`{"name": "t%d", "timeout_ms": 1000, "steps": [{"name": "a", "sh": "a"}]}`, i))
	}
	digest := fmt.Sprintf("sha256:%064x", 1)
	body := fmt.Sprintf(`{"stages": [{"name": "s", "mode": "parallel", "tasks": [%s]}]}`, strings.Join(tasks, ","))
	if _, err := a.q.PlanStore(t.Context(), db.PlanStoreParams{Digest: digest, Body: []byte(body)}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.q.RunCreate(t.Context(), db.RunCreateParams{Project: "p", Plan: &digest, Actor: "t"}); err != nil {
		t.Fatal(err)
	}
	var agent int64
	if err := d.Owner.QueryRow(t.Context(), `insert into agents (name, capacity, enrolled_at, seen_at) values ('a', 1000, now(), now()) returning id`).Scan(&agent); err != nil {
		t.Fatal(err)
	}
	slots := make([]int64, len(texts))
	for i := range slots {
		slots[i] = agent
	}
	leases, err := a.q.TaskLease(t.Context(), db.TaskLeaseParams{Slots: slots, Actor: "t"})
	if err != nil || len(leases) != len(texts) {
		t.Fatalf("%d leases, %v", len(leases), err)
	}
	for i, lease := range leases {
		a.texts[lease.ID] = texts[i]
		a.logs = append(a.logs, lease.ID)
		a.say(lease, texts[i])
	}
	return a
}

func (a *attic) worker() *logCompact {
	return &logCompact{q: a.q, store: a.store, log: slog.New(slog.DiscardHandler)}
}

// say appends a text to the log of an attempt, and ends both.
func (a *attic) say(lease db.Lease, text string) {
	a.t.Helper()
	enc, _ := zstd.NewWriter(nil)
	half := len(text) / 2
	for seq, part := range []string{text[:half], text[half:]} {
		if _, err := a.q.LogAppend(a.t.Context(), db.LogAppendParams{Lease: lease.ID, Epoch: 1, Agent: lease.AgentID, Seq: int32(seq), Bytes: int32(len(part)),
			Segments: json.RawMessage(`[]`), Data: enc.EncodeAll([]byte(part), nil)}); err != nil {
			a.t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(text))
	if _, err := a.q.TaskFinish(a.t.Context(), db.TaskFinishParams{Lease: lease.ID, Epoch: 1, Agent: lease.AgentID, Steps: json.RawMessage(`[]`), Actor: "t",
		Log: json.RawMessage(fmt.Sprintf(`{"chunks": 2, "bytes": %d, "sha256": %q}`, len(text), hex.EncodeToString(sum[:])))}); err != nil {
		a.t.Fatal(err)
	}
}

// rested lets the logs that rest be tried again.
func (a *attic) rested() *attic {
	a.w.later.Range(func(lease, found any) bool {
		a.w.later.Store(lease, rest{alone: found.(rest).alone})
		return true
	})
	return a
}

// work moves all logs, as the job does after it has looked from anywhere on.
func (a *attic) work() error {
	leases, err := a.q.LogsDone(a.t.Context(), db.LogsDoneParams{AtMost: compactLook})
	if err != nil {
		a.t.Fatal(err)
	}
	return errors.Join(a.w.compactAll(a.t.Context(), leases).failed...)
}

// object is where a log is; empty while it is in chunks. What it holds must be what was said.
func (a *attic) object(log uuid.UUID) string {
	a.t.Helper()
	lease, err := a.q.LeaseByID(a.t.Context(), log)
	if err != nil {
		a.t.Fatal(err)
	}
	if lease.LogObject == nil {
		if n := a.count("select count(*) from log_chunks where lease_id = $1", log); n == 0 {
			a.t.Errorf("log %s is nowhere", log)
		}
		return ""
	}
	index, err := a.store.ReadLogIndex(a.t.Context(), store.LogPlace{Key: *lease.LogObject, IndexAt: *lease.LogIndex, Log: log.String()})
	if err != nil {
		a.t.Fatal(err)
	}
	dec, _ := zstd.NewReader(nil)
	var got []byte
	for _, c := range index {
		frame, err := a.store.ReadLogFrame(a.t.Context(), *lease.LogObject, c)
		if err != nil || c.FirstByte != int64(len(got)) {
			a.t.Fatalf("chunk %d of log %s begins at %d: %v", c.Seq, log, c.FirstByte, err)
		}
		if got, err = dec.DecodeAll(frame, got); err != nil {
			a.t.Fatal(err)
		}
	}
	if string(got) != a.texts[log] {
		a.t.Errorf("log %s has %d bytes, want %d", log, len(got), len(a.texts[log]))
	}
	if n := a.count("select (select count(*) from log_chunks where lease_id = $1) + (select count(*) from log_parts where lease_id = $1)", log); n != 0 {
		a.t.Errorf("%d chunks and parts of log %s are left", n, log)
	}
	return *lease.LogObject
}

// counted makes sure that objects count the logs in them.
func (a *attic) counted() {
	a.t.Helper()
	if n := a.count(`select count(*) from log_packs p where logs <> (select count(*) from leases l where l.log_object = p.object)`); n != 0 {
		a.t.Errorf("%d objects count wrong", n)
	}
}

// Small logs share an object, and large ones do not; each is what was said.
func TestLogPack(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789\n", packedLog/10)
	a := newAttic(t, "one\n", "two\n", "", large, "three")
	for range 2 { // the second time there is nothing to do
		if err := a.work(); err != nil {
			t.Fatal(err)
		}
	}
	shared := a.object(a.logs[0])
	for i, log := range a.logs {
		if got := a.object(log); (got == shared) != (i != 3) {
			t.Errorf("log %d is in %q, the first is in %q", i, got, shared)
		}
	}
	a.counted()
	if n := a.count("select count(*) from objects_gone"); n != 0 {
		t.Errorf("%d objects would be deleted", n)
	}
}

// A damaged log neither moves nor holds up those that would share its object; it is tried again, alone.
func TestLogPackLeavesOutTheDamaged(t *testing.T) {
	t.Parallel()
	a := newAttic(t, "one\n", "two\n", "bytes that are not right", "chunk that is not there", "three")
	a.exec("update log_parts set data = 'x' where lease_id = $1 and seq = 1", a.logs[2])
	a.exec("update log_chunks set seq = 7 where lease_id = $1 and seq = 1", a.logs[3])
	err := a.work()
	for _, bad := range a.logs[2:4] {
		if a.object(bad) != "" || err == nil || !strings.Contains(err.Error(), bad.String()) {
			t.Errorf("log %s is in %q: %v", bad, a.object(bad), err)
		}
	}
	if a.object(a.logs[0]) == "" || a.object(a.logs[0]) != a.object(a.logs[4]) {
		t.Error("the others were held up")
	}
	a.counted()
	if err := a.work(); err != nil {
		t.Errorf("a damaged log does not rest: %v", err)
	}
	if err := a.rested().work(); err == nil || !strings.Contains(err.Error(), "write the log of lease "+a.logs[3].String()) || a.count("select count(*) from log_packs") != 1 {
		t.Errorf("a damaged log does not go alone: %v", err)
	}
	a.exec("update log_chunks set seq = 1 where lease_id = $1 and seq = 7", a.logs[3])
	if err := a.rested().work(); err == nil || a.object(a.logs[3]) == "" {
		t.Errorf("what was mended is in %q: %v", a.object(a.logs[3]), err)
	}
}

// While the store takes nothing the chunks stay, and afterwards the logs share an object as before.
func TestLogPackWithoutStore(t *testing.T) {
	t.Parallel()
	a := newAttic(t, "one\n", "two\n", "three")
	incoming := filepath.Join(a.dir, ".incoming")
	if err := os.RemoveAll(incoming); err != nil {
		t.Fatal(err)
	}
	if err := a.work(); err == nil || a.object(a.logs[0]) != "" || a.count("select count(*) from log_chunks") != 6 {
		t.Fatalf("moved without a store: %v", err)
	}
	if n := a.count("select count(*) from objects_gone where at > otto.clock()"); n != 1 {
		t.Errorf("%d objects are announced, want the one that may be there", n)
	}
	if err := os.Mkdir(incoming, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.rested().work(); err != nil || a.object(a.logs[0]) == "" || a.object(a.logs[0]) != a.object(a.logs[2]) {
		t.Errorf("then the first is in %q, the last in %q: %v", a.object(a.logs[0]), a.object(a.logs[2]), err)
	}
}

// What the store gives back is read: an object that is not what was written takes nobody's place.
func TestLogPackIsReadBack(t *testing.T) {
	t.Parallel()
	a := newAttic(t, "one\n", "two\n")
	p := &pack{key: "logs/x"}
	for _, log := range a.logs {
		lease, err := a.q.LeaseByID(t.Context(), log)
		if err != nil {
			t.Fatal(err)
		}
		p.logs = append(p.logs, lease)
	}
	if damaged, err := a.w.storePack(t.Context(), p); damaged != nil || err != nil || len(p.logs) != 2 {
		t.Fatalf("%d logs were stored: %v, %v", len(p.logs), damaged, err)
	}
	path := filepath.Join(a.dir, "logs", "x")
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unseen := 0
	for at := range body {
		body[at] ^= 0x10
		if err := os.WriteFile(path, body, 0o600); err != nil {
			t.Fatal(err)
		}
		read := &pack{key: p.key, indexAt: p.indexAt, logs: p.logs}
		if damaged, err := a.w.verifyPack(t.Context(), read); damaged == nil && err == nil {
			unseen++
			a.unharmed(body, p.indexAt)
		}
		body[at] ^= 0x10
	}
	if unseen > len(body)/4 {
		t.Errorf("%d of %d changes were not seen", unseen, len(body))
	}
}

// unharmed makes sure that a reader gets what was said: some bits of a zstd frame mean nothing.
func (a *attic) unharmed(object []byte, indexAt int64) {
	a.t.Helper()
	logs, err := store.ParseLogPack(object, indexAt)
	if err != nil {
		a.t.Fatal(err)
	}
	dec, _ := zstd.NewReader(nil)
	for log, text := range a.texts {
		got, err := dec.DecodeAll(bytes.Join(logs[log.String()], nil), nil)
		if err != nil || string(got) != text {
			a.t.Errorf("nobody saw that log %s came to %q: %v", log, got, err)
		}
	}
}

// Eight workers that move the same logs move each once.
func TestEightPack(t *testing.T) {
	t.Parallel()
	var texts []string
	for i := range 40 {
		texts = append(texts, strings.Repeat(fmt.Sprintf("line %d\n", i), 1+i))
	}
	a := newAttic(t, texts...)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := a.worker().Work(context.WithoutCancel(t.Context()), nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, log := range a.logs {
		if a.object(log) == "" {
			t.Errorf("log %s did not move", log)
		}
	}
	a.counted()
}
