package api

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// dispatcher hands work and orders to all agents that this process holds a request of. One goroutine claims for all of
// them: a claim for each request would be as many transactions as agents, at each wake-up, for the same few tasks.
//
// A lease that was granted belongs to its agent from that moment, whether or not the answer arrives. So what became
// of an answer is remembered for a while (told), and what an agent was granted and has not begun goes into the answer
// to its next request. In the end the lease's start_by takes it away.
type dispatcher struct {
	api  *API
	kick chan struct{} // there is a new waiter

	mu      sync.Mutex
	waiters map[int64]*waiter // by agent
	told    map[news]telling
	turn    int              // counts wake-ups
	looked  map[int64]glance // by agent: the last look that found nothing for it
	warm    map[int64]warmth // by agent
	swept   time.Time        // when told and looked were last cleaned up

	woke time.Time // when the last wake-up came; only the rounds' goroutine asks
}

// waiter is one held request.
type waiter struct {
	agent    int64
	free     int
	counting int64 // the request's number, if free grows with the results that are taken
	fresh    bool  // no round has looked at it yet, and one would find something
	answer   chan client.LeaseAnswer
}

// glance is a look at the database that found nothing for an agent. Until the next wake-up another would find nothing either,
// unless more of the agent is free, or what it was told before was lost; so its next request waits without one. In an idle
// fleet of 1,000 agents that is 36 requests a second. What a wake-up that was lost hides, a delay that is over, and a grant
// whose answer was lost by another node are found by the next poll: skipping the look costs them a second at most.
type glance struct {
	turn, free int
	at         time.Time
}

// warmth is the project that an agent was last given a task of by this process: it may still have the project's source and what its
// tools keep, so it is preferred for the next one. It is only a preference, so nothing is lost with the process.
type warmth struct {
	project int64
	at      time.Time
}

// news is something that an agent is told: a grant, or an order of some level.
type news struct {
	lease uuid.UUID
	order string
}

// telling is what became of news: when an agent was told, and whether the answer is known to be lost.
type telling struct {
	at   time.Time
	lost bool
}

const (
	// pollEvery is how soon work is found whose wake-up was lost.
	pollEvery = time.Second
	// calmEvery is the same where nothing has happened for calmAfter, there is nothing to do in the whole installation, and
	// wake-ups are heard. Those that are lost are lost to others that come at the same time, or to a connection that broke: the
	// former end the calm for longer than transactions last, and the latter shows within 15 s.
	calmEvery = 5 * time.Second
	calmAfter = 5 * time.Second
	// tellAgain is how long the answer to a request may take to show in the lease, before the agent is told again.
	tellAgain = 5 * time.Second
	// forgetTold bounds the memory: later the database's own word is enough.
	forgetTold = 2 * time.Minute
	// replacedPause keeps two programs with one credential from chasing each other.
	replacedPause = time.Second
	// roundPatience bounds one look at the database.
	roundPatience = 10 * time.Second
	// sweepEvery is how often what is not needed any more is forgotten: going through it at each round would cost more than the
	// rounds of a busy node.
	sweepEvery = 10 * time.Second
	// staysWarm is how long an agent is preferred for the project that it has worked for.
	staysWarm = time.Hour
	// maxSlots is the most tasks that one claim takes.
	maxSlots = 200
)

func newDispatcher(a *API) *dispatcher {
	return &dispatcher{api: a, kick: make(chan struct{}, 1), waiters: map[int64]*waiter{}, told: map[news]telling{}, looked: map[int64]glance{}, warm: map[int64]warmth{}}
}

// take holds an agent's request until there is work or an order for it, the time is over, or somebody stops waiting.
func (d *dispatcher) take(ctx context.Context, agent int64, asked client.LeaseRequest, hold time.Duration) client.LeaseAnswer {
	w := &waiter{agent: agent, free: asked.Free, counting: asked.Counting, answer: make(chan client.LeaseAnswer, 1)}
	d.join(w)
	timer := time.NewTimer(hold)
	defer timer.Stop()
	select {
	case answer := <-w.answer:
		if ctx.Err() != nil {
			d.lose(agent, answer)
		}
		return answer
	case <-timer.C:
		return d.leave(w)
	case <-d.api.stopping:
		answer := d.leave(w)
		answer.RetryAfterMS = 100 + rand.Int64N(900)
		return answer
	case <-ctx.Done():
		d.lose(agent, d.leave(w))
		return noWork()
	}
}

// join registers a waiter. An agent has one: a newer request ends the one before, whose connection may be long dead.
func (d *dispatcher) join(w *waiter) {
	d.mu.Lock()
	old := d.waiters[w.agent]
	d.waiters[w.agent] = w
	last, known := d.looked[w.agent]
	w.fresh = !known || last.turn != d.turn || last.free < w.free
	fresh := w.fresh
	d.mu.Unlock()
	if old != nil {
		answer := noWork()
		answer.RetryAfterMS = replacedPause.Milliseconds()
		old.answer <- answer
	}
	if !fresh {
		return
	}
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// freed counts a slot of an agent as free whose task's result was taken, in the request that the agent has held for longer. It
// answers the number of that request; 0 if there is none. The wake-up that follows a result makes a round look at it.
func (d *dispatcher) freed(agent int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.waiters[agent]
	if w == nil || w.counting == 0 {
		return 0
	}
	w.free++
	return w.counting
}

// leave takes a waiter out, with the answer that a round may have given it at the same moment.
func (d *dispatcher) leave(w *waiter) client.LeaseAnswer {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiters[w.agent] == w {
		delete(d.waiters, w.agent)
	}
	select {
	case answer := <-w.answer:
		return answer
	default:
		return noWork()
	}
}

// lose notes that an answer will not arrive: the agent's next request gets it again, at once.
func (d *dispatcher) lose(agent int64, answer client.LeaseAnswer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.looked, agent)
	for _, n := range newsIn(answer) {
		d.told[n] = telling{time.Now(), true}
	}
}

func noWork() client.LeaseAnswer {
	return client.LeaseAnswer{Leases: []client.Lease{}, Aborts: []client.Abort{}}
}

func newsIn(answer client.LeaseAnswer) []news {
	var list []news
	for _, l := range answer.Leases {
		list = append(list, news{lease: uuid.MustParse(l.ID)})
	}
	for _, o := range answer.Aborts {
		list = append(list, news{uuid.MustParse(o.Lease), o.Level})
	}
	return list
}

// waiting is how many requests are held.
func (d *dispatcher) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiters)
}

// run looks whenever something may have changed: a waiter came, a task became ready, an order was given; and from time
// to time, because a wake-up can be lost. Without waiters it does nothing.
func (d *dispatcher) run(ctx context.Context) {
	ready, stopReady := d.api.wake.Subscribe(db.TopicReady)
	defer stopReady()
	abort, stopAbort := d.api.wake.Subscribe(db.TopicAbort)
	defer stopAbort()
	failing := false
	poll := time.NewTimer(pollEvery)
	defer poll.Stop()
	for ctx.Err() == nil {
		everyone := true
		select {
		case <-ctx.Done():
		case <-d.kick:
			everyone = false
		case <-ready:
			d.woken()
		case <-abort:
			d.woken()
		case <-poll.C:
			var every time.Duration
			everyone, every = d.poll(ctx)
			poll.Reset(every + rand.N(every/10))
		}
		err := d.round(ctx, everyone)
		if err != nil && !failing && ctx.Err() == nil {
			d.api.log.WarnContext(ctx, "dispatcher could not ask for work, trying on", "error", err)
		}
		failing = err != nil
		if failing {
			wait(ctx, rand.N(pollEvery))
		}
	}
}

// woken notes that earlier looks may have missed something.
func (d *dispatcher) woken() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn++
	d.woke = time.Now()
}

// poll says whether a look can find anything for anybody, and when to poll again. Agents without a free slot learn of orders
// by a wake-up, or by their heartbeat.
func (d *dispatcher) poll(ctx context.Context) (everyone bool, again time.Duration) {
	if !d.anyFree() {
		return false, pollEvery
	}
	ctx, cancel := context.WithTimeout(ctx, roundPatience)
	defer cancel()
	busy, err := d.api.agents.WorkExists(ctx)
	if err != nil || busy || !d.api.wake.Hearing() || time.Since(d.woke) < calmAfter {
		return busy || err != nil, pollEvery // a round says what is wrong
	}
	return false, calmEvery
}

// anyFree says whether any waiting agent has a free slot.
func (d *dispatcher) anyFree() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.waiters {
		if w.free > 0 {
			return true
		}
	}
	return false
}
