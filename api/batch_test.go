package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/client"
)

// A counter doubles numbers, in batches that the test lets begin one by one. It leaves out multiples of ten.
type counter struct {
	batcher[int, int]
	begin   chan struct{}
	mu      sync.Mutex
	batches [][]int
}

func newCounter(most int) *counter {
	c := &counter{begin: make(chan struct{})}
	c.batcher = batcher[int, int]{
		most: most,
		all: func(_ context.Context, in []int) (map[int]int, error) {
			<-c.begin
			c.mu.Lock()
			defer c.mu.Unlock()
			c.batches = append(c.batches, slices.Clone(in))
			if slices.Contains(in, 13) {
				return nil, errors.New("13 spoils a batch")
			}
			if slices.Contains(in, 99) {
				panic("99")
			}
			done := map[int]int{}
			for i, n := range in {
				if n%10 != 0 {
					done[i] = 2 * n
				}
			}
			return done, nil
		},
		single: func(_ context.Context, n int) (int, error) {
			if n == 13 || n == 10 {
				return 0, fmt.Errorf("%d alone is wrong", n)
			}
			return 2 * n, nil
		},
	}
	return c
}

// inLine waits until so many callers wait behind the one whose batch is under way.
func (c *counter) inLine(t *testing.T, callers int) {
	t.Helper()
	eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.batcher.mu.Lock()
		defer c.batcher.mu.Unlock()
		return len(c.queue) == callers
	})
}

func TestBatcher(t *testing.T) {
	t.Parallel()
	t.Run("what_comes_meanwhile_goes_together", func(t *testing.T) {
		t.Parallel()
		c, got := newCounter(4), make(chan string, 8)
		var wg sync.WaitGroup
		ask := func(in ...int) {
			wg.Go(func() {
				for i, o := range c.call(t.Context(), in...) {
					got <- fmt.Sprint(in[i], o.value, o.err)
				}
			})
		}
		ask(1)
		eventually(t, func() bool { c.batcher.mu.Lock(); defer c.batcher.mu.Unlock(); return c.busy && len(c.queue) == 0 })
		ask(2, 10)
		c.inLine(t, 1)
		ask(4)
		c.inLine(t, 2)
		ask(5, 6)
		c.inLine(t, 3)
		for range 3 {
			c.begin <- struct{}{}
		}
		wg.Wait()
		close(got)
		if diff := cmp.Diff([][]int{{1}, {2, 10, 4}, {5, 6}}, c.batches); diff != "" {
			t.Error(diff)
		}
		want := []string{"1 2 <nil>", "10 0 10 alone is wrong", "2 4 <nil>", "4 8 <nil>", "5 10 <nil>", "6 12 <nil>"}
		if diff := cmp.Diff(want, slices.Sorted(chanValues(got))); diff != "" {
			t.Error(diff)
		}
	})
	for name, bad := range map[string]int{"a_bad_item_spoils_nothing": 13, "a_panic_hands_on_the_turn": 99} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCounter(10)
			close(c.begin)
			var wg sync.WaitGroup
			for n := range 8 {
				wg.Go(func() {
					if got, err := c.one(t.Context(), n+1); got != 2*(n+1) || err != nil {
						t.Errorf("%d: got %d, %v", n+1, got, err)
					}
				})
			}
			wg.Go(func() {
				defer func() { _ = recover() }()
				if _, err := c.one(t.Context(), bad); bad == 13 && (err == nil || err.Error() != "13 alone is wrong") {
					t.Error(err)
				}
			})
			wg.Wait()
		})
	}
}

// Who is first in line lingers, and those who come meanwhile go with him; a full batch does not linger.
func TestBatcherLingers(t *testing.T) {
	t.Parallel()
	c, lingers, enough := newCounter(4), make(chan bool), make(chan bool)
	c.linger = func(int) { lingers <- true; <-enough }
	close(c.begin)
	var wg sync.WaitGroup
	ask := func(n int) {
		wg.Go(func() {
			if got, err := c.one(t.Context(), n); got != 2*n || err != nil {
				t.Errorf("%d: got %d, %v", n, got, err)
			}
		})
	}
	ask(1)
	<-lingers
	for n := range 7 {
		ask(n + 2)
		c.inLine(t, n+2)
	}
	enough <- true
	wg.Wait()
	if len(c.batches) != 2 || len(c.batches[0]) != 4 || len(c.batches[1]) != 4 {
		t.Error(c.batches)
	}
}

// Whoever comes just after a batch hears how large it was; after a pause there is nobody to wait for.
func TestBatcherLingersInCrowdsOnly(t *testing.T) {
	t.Parallel()
	c, heard := newCounter(4), make(chan int, 2)
	c.linger = func(last int) { heard <- last }
	close(c.begin)
	for _, want := range []struct{ ago, last int }{{0, 0}, {0, 3}, {1, 0}, {0, 3}} {
		c.ended = time.Now().Add(time.Hour - time.Duration(want.ago)*2*time.Hour)
		c.call(t.Context(), 1, 2, 3)
		if last := <-heard; last != want.last {
			t.Errorf("%d h after a batch, its size was %d, want %d", want.ago, last, want.last)
		}
	}
}

func chanValues[T any](c <-chan T) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for v := range c {
			if !yield(v) {
				return
			}
		}
	}
}

// Reports of many leases come in one request. Each is taken or refused by itself, and the tasks are the better for it.
func TestReportsTogether(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{Capacity: 50})
	other, _ := n.enrol(client.AgentOffer{Name: "bee", Capacity: 1})
	run := n.run(manyTasks(12))
	foreign := take(t, other)
	var leases []client.Lease
	for len(leases) < 11 {
		answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 50})
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, answer.Leases...)
	}
	var starts client.LeaseReports
	for _, l := range append(slices.Clone(leases), foreign) {
		starts.Starts = append(starts.Starts, client.LeaseStarted{Lease: l.ID, LeaseStart: client.LeaseStart{Epoch: l.Epoch}})
	}
	starts.Starts = append(starts.Starts, starts.Starts[0])
	starts.Logs = []client.LeaseLogged{
		{Lease: leases[0].ID, LogChunk: client.LogChunk{Epoch: 1, Encoding: "zstd", Bytes: 3, Data: []byte("no frame")}},
		{Lease: leases[1].ID, LogChunk: client.LogChunk{Epoch: 1, Encoding: "identity", Bytes: 3, Data: []byte("one"), Segments: []client.Segment{{Kind: client.SegmentStdout, Bytes: 3}}}},
		{Lease: foreign.ID, LogChunk: client.LogChunk{Epoch: 1, Encoding: "identity"}},
	}
	answer, err := agent.LeaseReport(t.Context(), starts)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range answer.Starts {
		if i == 11 {
			if r.Problem == nil || r.Problem.Status != 403 || r.ID != foreign.ID {
				t.Errorf("another agent's lease: %+v", r)
			}
		} else if r.Problem != nil || r.State != "running" || r.ID != starts.Starts[i].Lease {
			t.Errorf("report %d: %+v", i, r)
		}
	}
	if l := answer.Logs; len(l) != 3 || l[0].Problem == nil || l[0].Problem.Status != 422 || l[1].Problem != nil || l[1].Next != 1 || l[2].Problem == nil || l[2].Problem.Status != 403 {
		t.Errorf("logs: %+v", l)
	}
	var wg sync.WaitGroup
	for _, l := range leases { // and eight contenders for the end of each
		for range 8 {
			wg.Go(func() {
				if state := finish(t, agent, l); state.State != "succeeded" {
					t.Error(state)
				}
			})
		}
	}
	wg.Wait()
	for _, query := range []string{
		"select count(*) from events where kind = 'task.started'", "select count(*) from events where kind = 'task.succeeded'",
	} {
		var got int
		if err := n.db.Owner.QueryRow(t.Context(), query).Scan(&got); err != nil || got != 11 {
			t.Errorf("%s: %d, %v; want 11", query, got, err)
		}
	}
	if shown, err := n.client("reader").RunShow(t.Context(), client.RunNumber(run.Run)); err != nil || shown.State != "running" {
		t.Error(shown.State, err)
	}
}

// A task whose run somebody holds for long keeps nobody else's result waiting.
func TestHeldRunHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{Capacity: 2})
	n.run(smallOttofile)
	held := begin(t, agent)
	n.run(smallOttofile)
	free := begin(t, agent)
	tx, err := n.db.Owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select otto.lock_run($1)", held.Run); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if state := finish(t, agent, held); state.State != "succeeded" {
			t.Error(state)
		}
	})
	eventually(t, func() bool {
		var waits int
		err := n.db.Owner.QueryRow(t.Context(), "select count(*) from pg_locks l join pg_database d on d.oid = l.database and d.datname = current_database() where not l.granted").Scan(&waits)
		return err == nil && waits > 0
	})
	if state := finish(t, agent, free); state.State != "succeeded" {
		t.Error(state)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// Runs that are asked for at once: one that names no plan spoils nothing, and a key makes one run.
func TestRunsTogether(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	n.token("writer")
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := map[int64]int{}
	for i := range 24 {
		wg.Go(func() {
			body, key := client.RunCreate{Plan: plan, Project: fmt.Sprint("p", i%3)}, fmt.Sprint("k", i%8)
			if i%8 == 7 {
				body.Plan = "sha256:" + fmt.Sprintf("%064d", 0)
				refused(t, n.do("writer", "POST", "/v1/runs", body, "Idempotency-Key", key+fmt.Sprint(i)), 404, "not_found")
				return
			}
			body.Project = fmt.Sprint("p", i%8)
			run := into[client.Run](t, n.do("writer", "POST", "/v1/runs", body, "Idempotency-Key", key), 201)
			if run.Project != body.Project || run.State != "running" {
				t.Errorf("asked for a run of %s, got %+v", body.Project, run)
			}
			mu.Lock()
			made[run.Run]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(made) != 7 {
		t.Errorf("%d runs were made for 7 keys: %v", len(made), made)
	}
}
