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
)

// What is done within a transaction that stays open while something else is tried.
type rival struct {
	m    *market
	tx   pgx.Tx
	q    *db.Queries
	done chan error
}

func (m *market) rival() *rival {
	m.t.Helper()
	tx := must[pgx.Tx](m.t)(m.db.Owner.Begin(m.ctx()))
	m.t.Cleanup(func() { _ = tx.Rollback(m.ctx()) })
	return &rival{m: m, tx: tx, q: db.New(tx), done: make(chan error, 1)}
}

// meet runs f against the open transaction, commits that once f waits or is over, and answers what came of f.
func (r *rival) meet(f func() error) error {
	r.m.t.Helper()
	go func() { r.done <- f() }()
	for len(r.done) == 0 && r.m.count("select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'") == 0 {
	}
	if err := r.tx.Commit(r.m.ctx()); err != nil {
		r.m.t.Fatal(err)
	}
	return <-r.done
}

// won is a market in which an auction of one task has been won.
func won(t *testing.T) (m *market, orchestrator, run, task int64, award uuid.UUID) {
	t.Helper()
	m = newMarket(t, time.Second)
	orchestrator = m.orchestrator("X", template("x", four, 1, 5))
	run = m.run(bigTask)
	task = m.firstTask(run)
	auction := m.open()[0].ID
	m.mustBid(auction, task, orchestrator, "x")
	m.advance(time.Second)
	m.close(auction)
	award, _ = m.award(task)
	return m, orchestrator, run, task, award
}

// A task that an agent is just taking is not awarded.
func TestAuctionMeetsLease(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	run := m.run(bigTask)
	auction := m.open()[0].ID
	m.mustBid(auction, m.firstTask(run), x, "x")
	m.advance(time.Second)
	agent := m.agent(four)
	r := m.rival()
	if leases := must[[]db.Lease](t)(r.q.TaskLease(m.ctx(), db.TaskLeaseParams{Slots: []int64{agent}, Actor: "t"})); len(leases) != 1 {
		t.Fatalf("leases %+v", leases)
	}
	if err := r.meet(func() error {
		_, err := m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: auction, Actor: "t"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	m.want(run, "running: running[s=scheduled]")
}

// An auction is not closed while somebody is placing a bid, which then counts.
func TestAuctionMeetsBid(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	run := m.run(bigTask)
	auction := m.open()[0].ID
	r := m.rival()
	estimate := int64(1)
	must[db.Bid](t)(r.q.BidPlace(m.ctx(), db.BidPlaceParams{Auction: auction, Task: m.firstTask(run), Orchestrator: x, Template: "x", EstimateMs: &estimate, Actor: "t"}))
	m.advance(time.Second)
	if err := r.meet(func() error {
		_, err := m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: auction, Actor: "t"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	m.want(run, "running: running[s=provisioning]")
}

// Two auctions that close at once do not win more agents of a template than there may be.
func TestAuctionsShareTheRoom(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 1))
	var auctions []int64
	for range 2 {
		m.run(bigTask)
	}
	for _, a := range m.open() {
		auctions = append(auctions, a.ID)
		m.mustBid(a.ID, m.firstTask(a.RunID), x, "x")
	}
	m.advance(time.Second)
	r := m.rival()
	must[db.Auction](t)(r.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: auctions[0], Actor: "t"}))
	if err := r.meet(func() error {
		_, err := m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: auctions[1], Actor: "t"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if n := m.count("select count(*) from awards where ended_at is null"); n != 1 {
		t.Errorf("%d awards of a template with one instance", n)
	}
	// The agent that has enrolled counts once, and its award again once it is gone.
	award, _ := m.award(int64(m.count("select task_id from awards")))
	room := func() int { return m.count("select room from otto_api.templates") }
	agent := must[db.Agent](t)(m.enrol(must[int64](t)(m.take(award, x)), four))
	if room() != 0 {
		t.Errorf("room for %d more beside the agent", room())
	}
	must[db.Agent](t)(m.q.AgentBye(m.ctx(), db.AgentByeParams{Agent: agent.ID, Actor: "t"}))
	if room() != 0 {
		t.Errorf("room for %d more beside the award", room())
	}
}

// Whoever opens auctions is not waited for: he opens what there is.
func TestAuctionsOpenOnce(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	m.orchestrator("X", template("x", four, 1, 1))
	m.run(bigTask)
	r := m.rival()
	if opened := must[[]db.Auction](t)(r.q.AuctionOpen(m.ctx(), "t")); len(opened) != 1 {
		t.Fatalf("auctions %+v", opened)
	}
	if err := r.meet(func() error {
		opened, err := m.q.AuctionOpen(m.ctx(), "t")
		if len(opened) != 0 {
			t.Errorf("auctions %+v", opened)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// Everything that ends an auction or an award waits for the run's lock.
func TestAuctionsTakeTheRunsLock(t *testing.T) {
	t.Parallel()
	m, x, run, task, award := won(t)
	agent := must[db.Agent](t)(m.enrol(must[int64](t)(m.take(award, x)), four))
	m.exec("update auctions set state = 'open', closed_at = null")
	auction := m.count("select id from auctions")
	r := m.rival()
	if _, err := r.tx.Exec(m.ctx(), "select otto.lock_run($1)", run); err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{
		fmt.Sprintf("otto.auction_close(%d, 't')", auction), fmt.Sprintf("otto.award_return('%s', %d, null, 't')", award, x), fmt.Sprintf("otto.award_expire('%s', 't')", award),
		fmt.Sprintf("otto.agent_hello(%d, 'n', '', 1, '{}', 't')", agent.ID), fmt.Sprintf("otto.task_starve(%d, 't')", task),
	} {
		_, err := m.db.Owner.Exec(m.ctx(), "begin; set local lock_timeout = '20ms'; select "+call+"; commit")
		if err == nil || !strings.Contains(err.Error(), "55P03") {
			t.Errorf("%s did not wait for the run's lock: %v", call, err)
		}
	}
}

// Eight of each want an end of the same award: there is one, and one event of it.
func TestAwardEndsOnce(t *testing.T) {
	t.Parallel()
	m, x, run, task, award := won(t)
	m.widen(8)
	agent := must[db.Agent](t)(m.enrol(must[int64](t)(m.take(award, x)), four))
	m.advance(2 * time.Minute)
	must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
	contend(t, 8, func(i int) (err error) {
		switch i % 4 {
		case 0:
			_, err = m.q.AwardReturn(m.ctx(), db.AwardReturnParams{Award: award, Orchestrator: x, Actor: "t"})
		case 1:
			_, err = m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: award, Actor: "t"})
		case 2:
			_, err = m.q.AgentHello(m.ctx(), db.AgentHelloParams{Agent: agent.ID, Name: "n", Capacity: 1, Offers: json.RawMessage(four), Actor: "t"})
		default:
			_, err = m.q.RunAbort(m.ctx(), db.RunAbortParams{Run: run, Actor: "t"})
		}
		return err
	})
	if n := m.count("select count(*) from events where kind in ('award.revoked', 'award.started', 'award.aborted')"); n != 1 {
		t.Errorf("%d ends of one award", n)
	}
	if left, _ := m.award(task); left != uuid.Nil {
		t.Error("the award lives")
	}
}

// A token that was used or revoked is not waited for.
func TestRoomOfTokens(t *testing.T) {
	t.Parallel()
	m := newMarket(t, 0)
	x := m.orchestrator("X", template("x", four, 1, 3))
	room := func(want int) {
		t.Helper()
		if got := m.count("select room from otto_api.templates"); got != want {
			t.Errorf("room for %d, want %d", got, want)
		}
	}
	room(3)
	var tokens []db.Token
	for range 2 {
		tokens = append(tokens, must[db.Token](t)(m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: x, Template: "x", Hash: newHash(), Actor: "t"})))
	}
	room(1)
	agent := must[db.Agent](t)(m.enrol(tokens[0].ID, four))
	room(1)
	must[db.Agent](t)(m.q.AgentBye(m.ctx(), db.AgentByeParams{Agent: agent.ID, Actor: "t"}))
	room(2)
	must[db.Token](t)(m.q.TokenRevoke(m.ctx(), db.TokenRevokeParams{Token: tokens[1].ID, Actor: "t"}))
	room(3)
	must[db.Token](t)(m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: x, Template: "x", Hash: newHash(), Actor: "t"}))
	room(2)
	m.advance(2 * time.Minute)
	room(3)
}

// Two that take the same award at once get a token each, and one of them is good.
func TestAwardTakenTwice(t *testing.T) {
	t.Parallel()
	m, x, _, _, award := won(t)
	r := m.rival()
	must[db.Award](t)(r.q.AwardTake(m.ctx(), db.AwardTakeParams{Award: award, Orchestrator: x, Hash: newHash(), Actor: "t"}))
	if err := r.meet(func() error { _, err := m.take(award, x); return err }); err != nil {
		t.Fatal(err)
	}
	if n := m.count("select count(*) from tokens where award_id = $1 and revoked_at is null", award); n != 1 {
		t.Errorf("%d tokens are good", n)
	}
	if n := m.count("select count(*) from events where kind = 'award.taken'"); n != 1 {
		t.Errorf("it was taken %d times", n)
	}
}
