package transitions_test

import (
	"encoding/json"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
)

var (
	orchestratorStates = []string{"online", "offline", "disabled"}
	auctionStates      = []string{"open", "completed", "failed", "void"}
	awardStates        = []string{"living", "started", "late", "returned", "lost", "unfit", "aborted"}
)

// sale makes, by force, an auction of a task with one bid, and an award of it in some state ("": none).
func (m *matrix) sale(s subject, auction, award string) (a, orchestrator int64, id uuid.UUID) {
	m.t.Helper()
	id = uuid.New()
	err := m.db.Owner.QueryRow(m.ctx(), `
		with o as (insert into orchestrators (name, enrolled_at, seen_at) values ('o', now(), now()) returning id),
		p as (insert into templates (orchestrator_id, name, offers, price, start_ms, instances) select id, 'p', '{}', 1, 0, 9 from o returning id),
		a as (insert into auctions (run_id, stage_id, state, opened_at, closes_at, closed_at)
		      select $1, stage_id, $3, now(), now() + case when $3 = 'open' and $4 = '' then interval '1 minute' else '0' end, case when $3 <> 'open' then now() end from tasks where id = $2 returning id),
		l as (insert into auction_tasks (auction_id, task_id, round, outcome) select id, $2, 1, case when $3 <> 'open' then 'gone' end from a returning auction_id)
		select a.id, o.id from a, o, p, l`, s.run, s.task, auction, award).Scan(&a, &orchestrator)
	if err != nil {
		m.t.Fatal(err)
	}
	m.exec(`insert into bids (auction_id, task_id, orchestrator_id, template_id, state, price, estimate_ms, estimated_by, start_ms, within_ms, cost, placed_at)
		select $1, $2, $3, id, case when $4 in ('', 'bid') then 'placed' else 'won' end, 1, 1, 'bidder', 0, 1000, 1, now() from templates where orchestrator_id = $3`, a, s.task, orchestrator, award)
	if award != "" && award != "bid" {
		m.exec(`insert into awards (id, bid_id, auction_id, task_id, run_id, orchestrator_id, template_id, project_id, task_name, because, awarded_at, start_by, ended_at, end_reason, lease_id)
			select $1, b.id, b.auction_id, b.task_id, $2, b.orchestrator_id, b.template_id, 1, 's', 'b', now(), now() + '1 minute',
			       case when $3 <> 'living' then now() end, nullif($3, 'living'), case when $3 = 'started' then gen_random_uuid() end from bids b where b.auction_id = $4`, id, s.run, award, a)
	}
	m.exec("delete from events")
	return a, orchestrator, id
}

// auctions calls what orchestrators, and the clock, do with auctions and awards, from every state.
func (m *matrix) auctions() {
	m.exec("update cluster set auction_window = '1 minute'")
	m.opening()
	for _, from := range auctionStates {
		for _, bids := range []string{"bid", ""} {
			s := m.arrange("running", "ready")
			a, orchestrator, _ := m.sale(s, from, bids)
			if bids == "" {
				_, err := m.q.BidPlace(m.ctx(), db.BidPlaceParams{Auction: a, Task: s.task, Orchestrator: orchestrator, Template: "p", Actor: "t"})
				m.write("bid_place", "auction", from, s, err, "select state from auctions where id = $1", a)
				m.exec("delete from runs where id = $1", s.run)
				continue
			}
			_, err := m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: a, Actor: "t"})
			m.write("auction_close", "auction", from, s, err, "select state from auctions where id = $1", a)
			m.exec("delete from runs where id = $1", s.run)
		}
	}
	m.closing()
	m.awards()
	m.exec("update cluster set auction_window = '0'")
}

// opening opens an auction for a task in every state.
func (m *matrix) opening() {
	for _, from := range taskStates {
		s := m.arrange("running", from)
		m.exec("update agents set state = 'offline'")
		m.orchestratorOf()
		_, err := m.q.AuctionOpen(m.ctx(), "t")
		m.write("auction_open", "task", from, s, err, "select state from tasks where id = $1", s.task)
		m.exec("delete from runs where id = $1", s.run)
	}
}

func (m *matrix) orchestratorOf() (id int64) {
	m.t.Helper()
	err := m.db.Owner.QueryRow(m.ctx(), `with o as (insert into orchestrators (name, enrolled_at, seen_at) values ('o', now(), now()) returning id)
		insert into templates (orchestrator_id, name, offers, price, start_ms, instances) select id, 'p', '{}', 1, 0, 9 from o returning orchestrator_id`).Scan(&id)
	if err != nil {
		m.t.Fatal(err)
	}
	m.exec("delete from events")
	return id
}

// closing closes an auction over a task in every state, with a bid and without.
func (m *matrix) closing() {
	for _, move := range []struct{ name, entity, query string }{
		{"auction_close", "task", "select state from tasks where run_id = $1"},
		{"auction_close (without bids)", "auction", "select state from auctions where run_id = $1"},
	} {
		for _, from := range taskStates {
			if from == "provisioning" || move.entity == "auction" && from != "ready" {
				continue // what has an award is in no open auction
			}
			s := m.arrange("running", from)
			a, _, _ := m.sale(s, "open", "bid")
			if move.entity == "auction" {
				m.exec("delete from bids where auction_id = $1", a)
			}
			_, err := m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: a, Actor: "t"})
			m.write(move.name, move.entity, map[string]string{"task": from, "auction": "open"}[move.entity], s, err, move.query, s.run)
			m.exec("delete from runs where id = $1", s.run)
		}
	}
}

func (m *matrix) awards() {
	const state = "select coalesce(end_reason, 'living') from awards where run_id = $1"
	for _, move := range []struct {
		name string
		call func(award uuid.UUID, orchestrator, agent int64) error
	}{
		{"award_take", func(award uuid.UUID, orchestrator, _ int64) error {
			_, err := m.q.AwardTake(m.ctx(), db.AwardTakeParams{Award: award, Orchestrator: orchestrator, Hash: newHash(), Actor: "t"})
			return err
		}},
		{"award_return", func(award uuid.UUID, orchestrator, _ int64) error {
			_, err := m.q.AwardReturn(m.ctx(), db.AwardReturnParams{Award: award, Orchestrator: orchestrator, Actor: "t"})
			return err
		}},
		{"award_expire", func(award uuid.UUID, _, _ int64) error {
			m.exec("update awards set start_by = '2000-01-01' where id = $1", award)
			_, err := m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: award, Actor: "t"})
			return err
		}},
		{"agent_hello", func(award uuid.UUID, orchestrator, agent int64) error {
			m.exec("update awards set agent_id = $1 where id = $2", agent, award)
			m.exec("update agents set orchestrator_id = $1 where id = $2", orchestrator, agent)
			_, err := m.q.AgentHello(m.ctx(), db.AgentHelloParams{Agent: agent, Name: "n", Capacity: 1, Offers: json.RawMessage(`{}`), Actor: "t"})
			return err
		}},
	} {
		for _, from := range awardStates {
			s := m.arrange("running", map[bool]string{true: "provisioning", false: "ready"}[from == "living"])
			award, orchestrator := s.award, s.orchestrator
			if from != "living" {
				_, orchestrator, award = m.sale(s, "completed", from)
			}
			m.write(move.name, "award", from, s, move.call(award, orchestrator, s.agent), state, s.run)
			m.exec("delete from runs where id = $1", s.run)
		}
	}
}

func (m *matrix) orchestrators() {
	for _, move := range []struct {
		name string
		call func(o int64) error
	}{
		{"orchestrator_hello", func(o int64) error {
			_, err := m.q.OrchestratorHello(m.ctx(), db.OrchestratorHelloParams{Orchestrator: o, Name: "n", Templates: json.RawMessage("[]"), Actor: "t"})
			return err
		}},
		{"orchestrator_beat", func(o int64) error {
			_, err := m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: o, Actor: "t"})
			return err
		}},
		{"orchestrator_bye", func(o int64) error {
			_, err := m.q.OrchestratorBye(m.ctx(), db.OrchestratorByeParams{Orchestrator: o, Actor: "t"})
			return err
		}},
		{"orchestrator_disable", func(o int64) error {
			_, err := m.q.OrchestratorDisable(m.ctx(), db.OrchestratorDisableParams{Orchestrator: o, Disabled: true, Actor: "t"})
			return err
		}},
		{"orchestrator_enable", func(o int64) error {
			_, err := m.q.OrchestratorDisable(m.ctx(), db.OrchestratorDisableParams{Orchestrator: o, Actor: "t"})
			return err
		}},
		{"enrolment_create", func(o int64) error {
			_, err := m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: o, Template: "p", Hash: newHash(), Actor: "t"})
			return err
		}},
	} {
		for _, from := range orchestratorStates {
			o := m.orchestratorOf()
			m.exec("update orchestrators set state = $1 where id = $2", from, o)
			m.exec("delete from river.river_job")
			m.write(move.name, "orchestrator", from, subject{}, move.call(o), "select state from orchestrators where id = $1", o)
		}
	}
}
