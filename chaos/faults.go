package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fault is one thing that goes wrong: when, to whom, and for how long.
type fault struct {
	At      time.Duration `json:"at_ns"` // since the safety phase began
	For     time.Duration `json:"for_ns"`
	Kind    string        `json:"kind"`
	Target  string        `json:"target"`
	Failure string        `json:"failure,omitempty"` // why it could not be done
}

func (f fault) String() string {
	text := fmt.Sprintf("%7.2fs  %-16s %-10s", f.At.Seconds(), f.Kind, f.Target)
	if f.For > 0 {
		text += fmt.Sprintf(" for %.1fs", f.For.Seconds())
	}
	if f.Failure != "" {
		text += "  (not done: " + f.Failure + ")"
	}
	return text
}

// errLeftOut is a fault that cannot be done on this machine; the report says why.
var errLeftOut = errors.New("left out")

// faultKind is a way of going wrong.
type faultKind struct {
	name    string
	weight  int
	targets []string
	longest time.Duration // zero: it is over at once
	do      func(ctx context.Context, f *fleet, target string, d time.Duration) error
}

var (
	servers  = []string{"api-1", "api-2", "worker-1", "worker-2"}
	runners  = []string{"agent-1", "agent-2", "agent-3", "agent-4"}
	callers  = append(slices.Clone(runners), "users")
	everyone = append(slices.Clone(servers), runners...)
	database = []string{"postgres"}
	disks    = append(slices.Clone(runners), "store")
)

// kinds lists all faults. Those that hold something up last longer than a lease now and then, or nothing would be lost.
func kinds() []faultKind {
	return []faultKind{
		{"kill", 5, everyone, 0, kill},
		{"restart", 2, everyone, 0, restart},
		{"freeze", 4, everyone, 9 * time.Second, freeze},
		{"crash-database", 1, database, 2 * time.Second, crashDatabase},
		{"cut-database", 2, servers, 0, cutDatabase},
		{"stall-database", 1, servers, 4 * time.Second, stallDatabase},
		{"hole-database", 1, servers, 6 * time.Second, holeDatabase},
		{"kill-listeners", 1, database, 3 * time.Second, killListeners},
		{"empty-jobs", 1, database, 0, emptyJobs},
		{"skew-clock", 1, database, 6 * time.Second, skewClock},
		{"fill-disk", 2, disks, 8 * time.Second, fillDisk},
		{"fill-database", 1, database, 5 * time.Second, fillDatabase},
		{"cut", 2, callers, 5 * time.Second, inWeather(func(w *weather, on bool) { w.cut = on })},
		{"hole", 2, callers, 8 * time.Second, inWeather(func(w *weather, on bool) { w.hole = on })},
		{"deaf", 2, callers, 6 * time.Second, inWeather(func(w *weather, on bool) { w.deaf = on })},
		{"duplicate", 2, callers, 10 * time.Second, inWeather(func(w *weather, on bool) { w.duplicate = on })},
		{"delay", 2, callers, 10 * time.Second, inWeather(func(w *weather, on bool) { w.delay = on })},
	}
}

func faultKinds() (names []string) {
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// checkKinds refuses names that are no fault's.
func checkKinds(only []string) error {
	for _, name := range only {
		if !slices.Contains(faultKinds(), name) {
			return fmt.Errorf("there is no fault %q: there are %s", name, strings.Join(faultKinds(), ", "))
		}
	}
	return nil
}

const (
	faultPause = 900 * time.Millisecond // between faults, on average
	shortest   = 200 * time.Millisecond
)

// schedule decides all faults before the first: the same seed, the same list.
func schedule(seed uint64, length time.Duration, only []string) []fault {
	r := rand.New(rand.NewPCG(seed, 0))
	var weighted []faultKind
	for _, k := range kinds() {
		if len(only) == 0 || slices.Contains(only, k.name) {
			weighted = append(weighted, slices.Repeat([]faultKind{k}, k.weight)...)
		}
	}
	var plan []fault
	for at := time.Second; at < length; at += time.Duration(r.Int64N(int64(2 * faultPause))) {
		k := pick(r, weighted...)
		f := fault{At: at, Kind: k.name, Target: pick(r, k.targets...)}
		if k.longest > 0 {
			f.For = shortest + time.Duration(r.Int64N(int64(k.longest-shortest)))
		}
		plan = append(plan, f)
	}
	return plan
}

// inflict does all faults at their times, and returns when the last one is over. When ctx ends, they end early.
func inflict(ctx context.Context, f *fleet, plan []fault, talk func(fault)) {
	do := map[string]faultKind{}
	for _, k := range kinds() {
		do[k.name] = k
	}
	began := time.Now()
	var going sync.WaitGroup
	defer going.Wait()
	for i := range plan {
		wait(ctx, time.Until(began.Add(plan[i].At)))
		if ctx.Err() != nil {
			plan[i].Failure = "the time was up"
			continue
		}
		going.Go(func() {
			if err := do[plan[i].Kind].do(ctx, f, plan[i].Target, plan[i].For); err != nil {
				plan[i].Failure = err.Error()
			}
			talk(plan[i])
		})
	}
}

func kill(_ context.Context, f *fleet, target string, _ time.Duration) error {
	return sent(f.members[target].signal(syscall.SIGKILL))
}

func restart(_ context.Context, f *fleet, target string, _ time.Duration) error {
	return sent(f.members[target].signal(syscall.SIGTERM))
}

func sent(ok bool) error {
	if !ok {
		return errDown
	}
	return nil
}

func freeze(ctx context.Context, f *fleet, target string, d time.Duration) error {
	if err := sent(f.members[target].signal(syscall.SIGSTOP)); err != nil {
		return err
	}
	wait(ctx, d)
	f.members[target].signal(syscall.SIGCONT) // another fault may have killed it
	return nil
}

func crashDatabase(ctx context.Context, f *fleet, _ string, d time.Duration) error {
	return f.pg.crash(ctx, d)
}

func cutDatabase(_ context.Context, f *fleet, target string, _ time.Duration) error {
	f.links[target].cut()
	return nil
}

func stallDatabase(ctx context.Context, f *fleet, target string, d time.Duration) error {
	f.links[target].stall()
	wait(ctx, d)
	f.links[target].release()
	return nil
}

// holeDatabase half-opens the connections: they seem to be there, and in the end are not.
func holeDatabase(ctx context.Context, f *fleet, target string, d time.Duration) error {
	f.links[target].stall()
	wait(ctx, d)
	f.links[target].cut()
	f.links[target].release()
	return nil
}

func inWeather(set func(w *weather, on bool)) func(context.Context, *fleet, string, time.Duration) error {
	return func(ctx context.Context, f *fleet, target string, d time.Duration) error {
		f.doors[target].set(func(w *weather) { set(w, true) })
		wait(ctx, d)
		f.doors[target].set(func(w *weather) { set(w, false) })
		return nil
	}
}

func emptyJobs(ctx context.Context, f *fleet, _ string, _ time.Duration) error {
	_, err := f.pg.admin.Exec(ctx, "begin; set local lock_timeout = '2s'; truncate river.river_job; commit")
	return err
}

// killListeners ends every connection that listens, again and again.
func killListeners(ctx context.Context, f *fleet, _ string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for ctx.Err() == nil {
		_, _ = f.pg.admin.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%'") // the next one may
		wait(ctx, 500*time.Millisecond)
	}
	return nil
}

func fillDisk(ctx context.Context, f *fleet, target string, d time.Duration) error {
	if f.noDisks != nil {
		return errLeftOut
	}
	return f.disks[target].fillWhile(func() { wait(ctx, d) })
}

func fillDatabase(ctx context.Context, f *fleet, target string, d time.Duration) error {
	if f.noDisks != nil {
		return errLeftOut
	}
	return f.pg.fillDisk(ctx, f.disks[target], d, d.Milliseconds()%2 == 0)
}

// skewClock sets the clock that decides everything a few seconds forward, or back, and then right again.
func skewClock(ctx context.Context, f *fleet, _ string, d time.Duration) error {
	offset := d
	if d.Milliseconds()%2 == 0 {
		offset = -d
	}
	if err := setClock(ctx, f, offset); err != nil {
		return err
	}
	wait(ctx, d)
	return rightClock(f)
}

// rightClock sets the clock right, and does not give up: a wrong one would outlast its fault.
func rightClock(f *fleet) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return until(ctx, "the clock is right", func() (bool, error) { return setClock(ctx, f, 0) == nil, nil })
}

func setClock(ctx context.Context, f *fleet, ahead time.Duration) error {
	_, err := f.pg.admin.Exec(ctx, fmt.Sprintf(`create or replace function otto.clock() returns timestamptz language plpgsql stable as $$
		begin return now() + interval '%d milliseconds'; end $$`, ahead.Milliseconds()))
	return err
}

// counted says how many faults of each kind were done.
func counted(plan []fault) map[string]int {
	out := map[string]int{}
	for _, f := range plan {
		if f.Failure == "" {
			out[f.Kind]++
		}
	}
	return out
}

// byTime is the order in which they began.
func byTime(plan []fault) []fault {
	return slices.SortedFunc(slices.Values(plan), func(a, b fault) int { return cmp.Compare(a.At, b.At) })
}
