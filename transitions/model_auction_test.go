package transitions_test

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/ottoci/otto/db"
)

// Auctions in the model: two bidders, who can start whatever is needed.

type modelBidder struct {
	id             int64
	name           string
	price          float64
	revoked        []time.Duration // when its awards came to nothing
	suspendedUntil time.Duration
}

type modelAuction struct {
	id       int64
	state    string
	closesAt time.Duration
	tasks    []*modelTask
	bids     map[*modelTask][]*modelBid
}

type modelBid struct {
	bidder *modelBidder
	used   bool
}

type modelAward struct {
	id      uuid.UUID
	task    *modelTask
	auction *modelAuction
	bidder  *modelBidder
	startBy time.Duration
	end     string // why it is over, or living
}

const (
	modelWindow = 10 * time.Second
	modelWithin = 60 * time.Second
)

func (b *modelBidder) lives(now time.Duration) bool { return b.suspendedUntil <= now }

// revoke notes an award that came to nothing; the third within an hour suspends.
func (b *modelBidder) revoke(now time.Duration) {
	b.revoked = append(b.revoked, now)
	recent := slices.DeleteFunc(slices.Clone(b.revoked), func(at time.Duration) bool {
		return at <= now-time.Hour || at <= b.suspendedUntil && b.suspendedUntil > 0
	})
	if b.suspendedUntil <= now && len(recent) >= 3 {
		b.suspendedUntil = now + 15*time.Minute
	}
}

func modelBackoff(round int) time.Duration {
	return min(time.Second<<min(round-1, 5), 30*time.Second)
}

// market makes the two bidders.
func (m *machine) market() {
	w := &market{m.world}
	m.exec("update cluster set auction_window = make_interval(secs => $1)", modelWindow.Seconds())
	m.exec("update orchestrators set state = 'disabled'")
	m.bidders = nil
	for name, price := range map[string]float64{"x": 2, "y": 1} {
		m.bidders = append(m.bidders, &modelBidder{name: name, price: price, id: w.orchestrator(name, template(name, "{}", price, 100_000))})
	}
}

// alive is what bidders say all the time.
func (m *machine) alive() {
	for _, b := range m.bidders {
		must[db.Orchestrator](m.t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: b.id, Actor: "t"}))
	}
}

// auction opens auctions at a moment when no agent has room, and draws who bids.
func (m *machine) auction(t *rapid.T) {
	m.alive()
	m.exec("update agents set state = 'draining'")
	opened := must[[]db.Auction](m.t)(m.q.AuctionOpen(m.ctx(), "t"))
	m.exec("update agents set state = 'online' where id = $1", m.agent)
	var due []*modelAuction
	for _, r := range m.runs {
		for _, s := range r.stages {
			a := &modelAuction{state: "open", closesAt: m.now + modelWindow, bids: map[*modelTask][]*modelBid{}}
			for _, task := range s.tasks {
				if task.state == "ready" && task.readyAt <= m.now && task.againAt <= m.now && (task.lot == nil || task.lot.state != "open") {
					a.tasks = append(a.tasks, task)
				}
			}
			if len(a.tasks) > 0 && (m.bidders[0].lives(m.now) || m.bidders[1].lives(m.now)) {
				due = append(due, a)
			}
		}
	}
	if len(opened) != len(due) {
		t.Fatalf("%d auctions, the model opens %d", len(opened), len(due))
	}
	for _, a := range due {
		for _, task := range a.tasks {
			task.lot = a
			task.round++
		}
		if a.id = int64(m.count("select auction_id from auction_tasks where task_id = $1 and outcome is null", a.tasks[0].id)); m.count("select count(*) from auction_tasks where auction_id = $1", a.id) != len(a.tasks) {
			t.Fatalf("auction %d is not of %d tasks", a.id, len(a.tasks))
		}
		m.auctionsOpen = append(m.auctionsOpen, a)
		m.bids(t, a)
	}
}

func (m *machine) bids(t *rapid.T, a *modelAuction) {
	for _, task := range a.tasks {
		for _, b := range m.bidders {
			if !rapid.Bool().Draw(t, "bid") {
				continue
			}
			_, err := (&market{m.world}).bid(a.id, task.id, b.id, b.name)
			refused(t, "bid", err, fencedUnless(b.lives(m.now)))
			if b.lives(m.now) {
				a.bids[task] = append(a.bids[task], &modelBid{bidder: b})
			}
		}
	}
}

func (m *machine) closeOne(t *rapid.T) {
	if len(m.auctionsOpen) == 0 {
		t.Skip("no auction")
	}
	m.alive()
	a := one(t, "auction", m.auctionsOpen)
	_, err := m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: a.id, Actor: "t"})
	refused(t, "close", err, fencedUnless(a.state == "open" && a.closesAt <= m.now))
	if err != nil {
		return
	}
	a.state = "void"
	for _, task := range a.tasks {
		task.againAt = m.now + modelBackoff(task.round)
		switch {
		case task.state != "ready":
		case m.win(task, a):
			a.state = "completed"
		case a.state == "void":
			a.state = "failed"
		}
	}
	if got := m.text("select state from auctions where id = $1", a.id); got != a.state {
		t.Fatalf("auction %d is %s, the model says %s", a.id, got, a.state)
	}
}

// win gives a task to the cheapest bid that lives and has not won yet.
func (m *machine) win(task *modelTask, a *modelAuction) bool {
	var best *modelBid
	for _, b := range a.bids[task] {
		if !b.used && b.bidder.lives(m.now) && (best == nil || b.bidder.price < best.bidder.price) {
			best = b
		}
	}
	if best == nil {
		return false
	}
	best.used = true
	id, winner := (&market{m.world}).award(task.id)
	task.award = &modelAward{id: id, task: task, auction: a, bidder: best.bidder, startBy: m.now + modelWithin, end: "living"}
	task.awards, m.awards = append(task.awards, task.award), append(m.awards, task.award)
	task.state = "provisioning"
	if winner != best.bidder.id {
		m.t.Fatalf("orchestrator %d has won task %d, the model says %s", winner, task.id, best.bidder.name)
	}
	return true
}

// someAward draws an award, mostly a living one.
func (m *machine) someAward(t *rapid.T) *modelAward {
	from := slices.DeleteFunc(slices.Clone(m.awards), func(w *modelAward) bool { return w.end != "living" })
	if len(from) == 0 || rapid.IntRange(0, 5).Draw(t, "any award") == 5 {
		from = m.awards
	}
	if len(from) == 0 {
		t.Skip("no award")
	}
	return one(t, "award", from)
}

func (m *machine) expire(t *rapid.T) {
	w := m.someAward(t)
	m.alive()
	_, err := m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: w.id, Actor: "t"})
	holds := w.end == "living" && w.startBy <= m.now
	refused(t, "expire", err, fencedUnless(holds))
	if holds {
		m.revoke(w, "late")
	}
}

func (m *machine) giveBack(t *rapid.T) {
	w := m.someAward(t)
	m.alive()
	_, err := m.q.AwardReturn(m.ctx(), db.AwardReturnParams{Award: w.id, Orchestrator: w.bidder.id, Actor: "t"})
	refused(t, "give back", err, fencedUnless(w.end == "living" || w.end == "returned"))
	if w.end == "living" {
		m.revoke(w, "returned")
	}
}

func (m *machine) revoke(w *modelAward, why string) {
	w.end = why
	w.bidder.revoke(m.now)
	w.task.award = nil
	if !m.win(w.task, w.auction) {
		w.task.state, w.task.againAt = "ready", m.now+modelBackoff(w.task.round)
	}
}

// arrive is the agent that was started for an award: it enrols and says hello.
func (m *machine) arrive(t *rapid.T) {
	w := m.someAward(t)
	market := &market{m.world}
	token, err := market.take(w.id, w.bidder.id)
	holds := w.end == "living" && w.startBy > m.now
	refused(t, "take", err, fencedUnless(holds))
	if !holds {
		return
	}
	a := must[db.Agent](m.t)(market.enrol(token, "{}"))
	must[db.Agent](m.t)(m.q.AgentHello(m.ctx(), db.AgentHelloParams{Agent: a.ID, Name: "n", Capacity: 1, Offers: json.RawMessage("{}"), Actor: "t"}))
	w.end = "started"
	w.task.award, w.task.state = nil, "scheduled"
	w.task.epoch++
	row := must[db.Lease](m.t)(m.q.LeaseOfAttempt(m.ctx(), db.LeaseOfAttemptParams{Task: w.task.id}))
	if row.AgentID != a.ID || int(row.Epoch) != w.task.epoch {
		t.Fatalf("a lease of agent %d, attempt %d", row.AgentID, row.Epoch)
	}
	w.task.lease = &modelLease{row: row, task: w.task, startBy: m.now + modelStart, expiresAt: m.now + modelTTL, end: "open"}
	m.leases, w.task.leases = append(m.leases, w.task.lease), append(w.task.leases, w.task.lease)
}
