package bench

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ottoci/otto/client"
)

// herd is a number of agents that do nothing with a task but say that it began and that it succeeded. They are
// goroutines of the benchmark, and speak the protocol like any agent: each has a credential of its own, holds one request
// for work, and sends heartbeats.
type herd struct {
	rig      *rig
	seen     func(sighting) // called for each; may be nil
	finished atomic.Int64   // tasks
	news     chan struct{}  // a task finished
	cancel   context.CancelCauseFunc
	ctx      context.Context
	group    sync.WaitGroup
}

// sighting is what an agent of a herd saw, and when.
type sighting struct {
	lease  client.Lease
	taken  bool // the task has just arrived; else its result is about to be sent
	at     time.Time
	number int // of the agent in the herd
}

// noop is one agent of a herd.
type noop struct {
	herd     *herd
	number   int
	client   *client.Client
	reporter *client.Reporter
	settings client.AgentSettings
	slots    chan struct{} // a token for each free one

	mu   sync.Mutex
	held map[string]bool
}

// herdSize is how many agents, and how many tasks each runs at once.
type herdSize struct {
	agents, capacity int
	label            string // what all of them offer; if empty, each offers a host's name of its own, as real agents do
}

// enrolAtOnce is how many agents of a herd enrol at the same time.
const enrolAtOnce = 16

// newHerd enrols agents and lets them ask for work.
func (r *rig) newHerd(ctx context.Context, size herdSize, seen func(sighting)) (*herd, error) {
	h := &herd{rig: r, seen: seen, news: make(chan struct{}, 1)}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * size.agents * size.capacity, MaxConnsPerHost: 0}
	agents := make([]*noop, size.agents)
	var enrolling sync.WaitGroup
	var next atomic.Int64
	for range min(enrolAtOnce, size.agents) {
		enrolling.Go(func() {
			for i := next.Add(1) - 1; int(i) < size.agents && h.ctx.Err() == nil; i = next.Add(1) - 1 {
				agent, err := h.enrol(int(i), transport, size)
				if err != nil {
					h.cancel(err)
					return
				}
				agents[i] = agent
			}
		})
	}
	enrolling.Wait()
	if h.ctx.Err() != nil {
		return nil, fmt.Errorf("enrol agents: %w", context.Cause(h.ctx))
	}
	for _, agent := range agents {
		h.group.Go(agent.work)
		h.group.Go(agent.beat)
	}
	return h, nil
}

func (h *herd) enrol(i int, transport http.RoundTripper, size herdSize) (*noop, error) {
	secret, err := h.rig.enrolToken(h.ctx, i)
	if err != nil {
		return nil, err
	}
	stranger, err := h.rig.client(transport, secret)
	if err != nil {
		return nil, err
	}
	offer := client.AgentOffer{Name: fmt.Sprintf("noop%d", i), Version: "bench", Capacity: size.capacity, Offers: map[string]any{"bench": size.label}}
	if size.label == "" {
		offer.Offers = map[string]any{"hostname": fmt.Sprintf("host%d", i)}
	}
	enrolled, err := stranger.AgentEnrol(h.ctx, offer)
	if err != nil {
		return nil, err
	}
	a := &noop{herd: h, number: i, settings: enrolled.Settings, slots: make(chan struct{}, size.capacity), held: map[string]bool{}}
	for range size.capacity {
		a.slots <- struct{}{}
	}
	a.client, err = h.rig.client(transport, enrolled.Token)
	a.reporter = client.NewReporter(a.client)
	return a, err
}

var errHerdStopped = errors.New("the herd was stopped")

// stop ends all agents and waits for them. Tasks that they hold are lost to them.
func (h *herd) stop() {
	h.cancel(errHerdStopped)
	h.group.Wait()
}

// await waits until so many tasks are finished, from the beginning on.
func (h *herd) await(ctx context.Context, tasks int64) error {
	for h.finished.Load() < tasks {
		select {
		case <-h.news:
		case <-h.ctx.Done():
			return context.Cause(h.ctx)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// work holds one request for as many tasks as there is room for, again and again.
func (a *noop) work() {
	ctx := a.herd.ctx
	for {
		free := a.room(ctx)
		if free == 0 {
			return
		}
		answer, err := a.client.LeaseTake(ctx, client.LeaseRequest{Free: free})
		at := time.Now()
		if err != nil {
			a.fail("take", err)
			return
		}
		for _, lease := range answer.Leases {
			if !a.hold(lease.ID) { // told again, because the server has not heard of it for long
				continue
			}
			free--
			a.herd.group.Go(func() { a.do(lease, at) })
		}
		for range free {
			a.slots <- struct{}{}
		}
		if answer.RetryAfterMS > 0 && !pause(ctx, time.Duration(answer.RetryAfterMS)*time.Millisecond) {
			return
		}
	}
}

// room waits for a free slot and takes all there are; 0 if the herd is stopped.
func (a *noop) room(ctx context.Context) int {
	select {
	case <-a.slots:
	case <-ctx.Done():
		return 0
	}
	for free := 1; ; free++ {
		select {
		case <-a.slots:
		default:
			return free
		}
	}
}

// do is a task: it begins, and it has succeeded.
func (a *noop) do(lease client.Lease, at time.Time) {
	defer func() { a.slots <- struct{}{} }()
	defer a.dismiss(lease.ID)
	a.see(sighting{lease: lease, taken: true, at: at, number: a.number})
	_, err := a.reporter.LeaseStart(a.herd.ctx, lease.ID, client.LeaseStart{Epoch: lease.Epoch, Steps: []client.StepReport{{State: client.Running}}})
	if err != nil {
		a.fail("start", err)
		return
	}
	a.see(sighting{lease: lease, at: time.Now(), number: a.number})
	if _, err = a.reporter.LeaseFinish(a.herd.ctx, lease.ID, success(lease)); err != nil {
		a.fail("finish", err)
		return
	}
	a.herd.finished.Add(1)
	select {
	case a.herd.news <- struct{}{}:
	default:
	}
}

// success is the result of a task whose steps have done nothing, and said nothing.
func success(lease client.Lease) client.LeaseFinish {
	zero, nothing := 0, sha256.Sum256(nil)
	finish := client.LeaseFinish{Epoch: lease.Epoch, ExitCode: &zero, Log: client.LogTotal{SHA256: hex.EncodeToString(nothing[:])}}
	for i := range lease.Spec.Steps {
		finish.Steps = append(finish.Steps, client.StepReport{Index: i, State: client.Succeeded, ExitCode: &zero})
	}
	return finish
}

func (a *noop) see(s sighting) {
	if a.herd.seen != nil {
		a.herd.seen(s)
	}
}

// hold notes a lease, and says whether it is new.
func (a *noop) hold(lease string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.held[lease]
	a.held[lease] = true
	return !known
}

func (a *noop) dismiss(lease string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, lease)
}

// beat renews the leases on a clock of its own, like a real agent.
func (a *noop) beat() {
	every := time.Duration(a.settings.HeartbeatMS) * time.Millisecond
	for wait := rand.N(every); pause(a.herd.ctx, wait); wait = every {
		beat := client.Heartbeat{Leases: []string{}}
		a.mu.Lock()
		for lease := range a.held {
			beat.Leases = append(beat.Leases, lease)
		}
		a.mu.Unlock()
		if _, err := a.client.AgentHeartbeat(a.herd.ctx, beat); err != nil {
			a.fail("beat", err)
			return
		}
	}
}

// fail ends the whole herd: a measurement in which calls fail says nothing.
func (a *noop) fail(call string, err error) {
	a.herd.cancel(fmt.Errorf("agent %d: %s: %w", a.number, call, err))
}

// pause waits, and says whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
