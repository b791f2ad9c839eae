package jobs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/store"
)

// A plant is a database, a store and workers that tick fast.
type plant struct {
	t     testing.TB
	db    *dbtest.Database
	q     *db.Queries
	store *store.Store
}

func newPlant(t testing.TB) *plant {
	t.Helper()
	d := dbtest.Open(t)
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{t: t, db: d, q: db.New(d.App), store: s}
	p.start()
	return p
}

func (p *plant) start() {
	p.t.Helper()
	c, err := Start(context.WithoutCancel(p.t.Context()), Config{Pool: p.db.App, Store: p.store, Plans: pipeline.Limits{MatrixLegs: 5},
		Logger: slog.New(slog.DiscardHandler), Reap: 50 * time.Millisecond, Reconcile: 100 * time.Millisecond, Compact: 50 * time.Millisecond, Prune: 100 * time.Millisecond})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		for range 2 { // stopping twice is allowed
			if err := c.Stop(context.Background()); err != nil {
				p.t.Error(err)
			}
		}
	})
}

func (p *plant) eventually(what string, ok func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			p.t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// source stores a bundle of these files and gives its digest.
func (p *plant) source(files map[string]string) string {
	p.t.Helper()
	var buf bytes.Buffer
	zipped := gzip.NewWriter(&buf)
	packed := tar.NewWriter(zipped)
	for name, text := range files {
		packed.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		io.WriteString(packed, text)
	}
	packed.Close()
	zipped.Close()
	sum := sha256.Sum256(buf.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if _, err := p.store.PutSource(p.t.Context(), &buf, digest, 1<<20); err != nil {
		p.t.Fatal(err)
	}
	return p.known(digest)
}

func (p *plant) known(digest string) string {
	p.t.Helper()
	if _, err := p.q.SourceStore(p.t.Context(), db.SourceStoreParams{Digest: digest, Actor: "t"}); err != nil {
		p.t.Fatal(err)
	}
	return digest
}

func (p *plant) run(source, ottofile string) int64 {
	p.t.Helper()
	params := db.RunCreateParams{Project: "p", Source: &source, Actor: "t"}
	if ottofile != "" {
		params.Ottofile = &ottofile
	}
	r, err := p.q.RunCreate(p.t.Context(), params)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.ID
}

func (p *plant) state(run int64) db.Run {
	p.t.Helper()
	row, err := p.q.RunByID(p.t.Context(), run)
	if err != nil {
		p.t.Fatal(err)
	}
	return row.Run
}

func TestSourcePlan(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	good := p.source(map[string]string{"Ottofile.yaml": "steps: [{sh: make}]", "ci/Ottofile.yaml": "steps: [{sh: other}]", "a": "b"})
	for name, c := range map[string]struct{ source, ottofile, state, reason string }{
		"by_convention":  {good, "", "running", ""},
		"by_name":        {good, "ci/Ottofile.yaml", "running", ""},
		"name_not_there": {good, "x.yaml", "failed", "the source has no Ottofile: x.yaml is not in it"},
		"no_ottofile":    {p.source(map[string]string{"a": "b"}), "", "failed", "the source has no Ottofile"},
		"with_errors":    {p.source(map[string]string{"Ottofile.yaml": "stpes: []"}), "", "failed", "Ottofile.yaml has errors"},
		"over_the_limit": {p.source(map[string]string{"Ottofile.yaml": "stages: [{stage: a, matrix: {n: [1, 2, 3, 4, 5, 6]}, steps: [{sh: a}]}]"}), "",
			"failed", "Ottofile.yaml has errors"},
		"bundle_not_there": {p.known("sha256:" + strings.Repeat("1", 64)), "", "failed", "is not in the object store"},
	} {
		t.Run(name, func(t *testing.T) {
			run := p.run(c.source, c.ottofile)
			p.eventually("the run is planned", func() bool { return p.state(run).State != "pending" })
			got := p.state(run)
			if got.State != c.state || (c.reason != "" && (got.Reason == nil || !strings.Contains(*got.Reason, c.reason))) {
				t.Errorf("%s, %v; want %s, %s", got.State, got.Reason, c.state, c.reason)
			}
			if name == "with_errors" && !strings.Contains(string(got.Diagnostics), "stpes") {
				t.Errorf("diagnostics = %s", got.Diagnostics)
			}
		})
	}
}

// The reaper takes the lease of a silent agent away, and an emptied job table does not stop it.
func TestLeaseExpire(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	task, agent := p.leased()
	if _, err := p.db.Owner.Exec(t.Context(), "truncate river.river_job"); err != nil {
		t.Fatal(err)
	}
	dbtest.AdvanceClock(t, p.db, time.Minute)
	p.beat()
	p.exec("update cluster set judge_from = otto.clock()") // the jump looked like an outage
	p.eventually("the task is ready again", func() bool {
		p.beat()
		row, err := p.q.TaskByID(t.Context(), task)
		return err == nil && row.Task.State == "ready"
	})
	if leases, err := p.q.TaskLease(t.Context(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"}); err != nil || len(leases) != 1 {
		t.Errorf("%d leases, %v", len(leases), err)
	}
}

func (p *plant) beat() {
	p.t.Helper()
	if _, err := p.q.ServerBeat(p.t.Context(), "api"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *plant) exec(query string, args ...any) {
	p.t.Helper()
	if _, err := p.db.Owner.Exec(p.t.Context(), query, args...); err != nil {
		p.t.Fatal(err)
	}
}

// leased makes a run whose task an agent has started.
func (p *plant) leased() (task, agent int64) {
	p.t.Helper()
	p.run(p.source(map[string]string{"Ottofile.yaml": "steps: [{sh: make}]"}), "")
	if err := p.db.Owner.QueryRow(p.t.Context(), `insert into agents (name, capacity, enrolled_at, seen_at) values ('a', 1, now(), now()) returning id`).Scan(&agent); err != nil {
		p.t.Fatal(err)
	}
	p.eventually("a task is ready", func() bool {
		leases, err := p.q.TaskLease(p.t.Context(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})
		if err != nil || len(leases) == 0 {
			return false
		}
		task = leases[0].TaskID
		_, err = p.q.TaskStart(p.t.Context(), db.TaskStartParams{Lease: leases[0].ID, Epoch: 1, Agent: agent, Steps: json.RawMessage(`[]`), Actor: "t"})
		return err == nil
	})
	return task, agent
}

// A finished log becomes one object with the same bytes, and its chunks are gone.
func TestLogCompact(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	task, agent := p.leased()
	lease, err := p.q.LeaseOfAttempt(t.Context(), db.LeaseOfAttemptParams{Task: task})
	if err != nil {
		t.Fatal(err)
	}
	enc, _ := zstd.NewWriter(nil)
	sum := sha256.New()
	var total int
	for seq := range 70 { // more than two batches
		text := strings.Repeat(fmt.Sprintf("line %d\n", seq), 50)
		io.WriteString(sum, text)
		total += len(text)
		if _, err := p.q.LogAppend(t.Context(), db.LogAppendParams{Lease: lease.ID, Epoch: 1, Agent: agent, Seq: int32(seq), Bytes: int32(len(text)),
			Lines: 50, Segments: json.RawMessage(`[]`), Data: enc.EncodeAll([]byte(text), nil)}); err != nil {
			t.Fatal(err)
		}
	}
	want := hex.EncodeToString(sum.Sum(nil))
	if _, err := p.q.TaskFinish(t.Context(), db.TaskFinishParams{Lease: lease.ID, Epoch: 1, Agent: agent, Steps: json.RawMessage(`[]`), Actor: "t",
		Log: json.RawMessage(fmt.Sprintf(`{"chunks": 70, "bytes": %d, "sha256": %q}`, total, want))}); err != nil {
		t.Fatal(err)
	}
	p.eventually("the log is compacted", func() bool {
		lease, err = p.q.LeaseByID(t.Context(), lease.ID)
		return err == nil && lease.LogObject != nil
	})
	object, _, err := p.store.Get(t.Context(), *lease.LogObject)
	if err != nil {
		t.Fatal(err)
	}
	defer object.Close()
	dec, _ := zstd.NewReader(object)
	got := sha256.New()
	if _, err := io.Copy(got, dec); err != nil || hex.EncodeToString(got.Sum(nil)) != want {
		t.Errorf("the object holds other bytes: %v", err)
	}
	index, err := p.store.ReadLogIndex(t.Context(), store.LogPlace{Key: *lease.LogObject, IndexAt: *lease.LogIndex})
	if err != nil || len(index) != 70 || index[69].FirstLine != 69*50 {
		t.Errorf("index of %d chunks, %v", len(index), err)
	}
	if chunks, _ := p.q.LogIndex(t.Context(), lease.ID); len(chunks) != 0 {
		t.Errorf("%d chunks left", len(chunks))
	}
}
