package transitions_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

// A market is a world with auctions, whose clock stands still.
type market struct{ *world }

func newMarket(t testing.TB, window time.Duration) *market {
	t.Helper()
	m := &market{newWorld(t)}
	m.exec("update cluster set auction_window = make_interval(secs => $1)", window.Seconds())
	dbtest.SetClock(t, m.db, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	m.beat()
	return m
}

func (m *market) advance(d time.Duration) { dbtest.AdvanceClock(m.t, m.db, d) }

func newHash() []byte { a, b := uuid.New(), uuid.New(); return append(a[:], b[:]...) }

// template writes a template as the database gets it.
func template(name, offers string, price float64, instances int) string {
	return fmt.Sprintf(`{"name": %q, "offers": %s, "price": %g, "start_ms": 0, "instances": %d}`, name, offers, price, instances)
}

func (m *market) orchestrator(name string, templates ...string) int64 {
	m.t.Helper()
	token := must[db.Token](m.t)(m.q.TokenCreate(m.ctx(), db.TokenCreateParams{Hash: newHash(), Kind: "enrol", Role: "enrol-orchestrator", Name: "e", Actor: "test"}))
	return must[db.Orchestrator](m.t)(m.q.OrchestratorEnrol(m.ctx(), db.OrchestratorEnrolParams{
		Enrol: token.ID, Hash: newHash(), Name: name, Templates: json.RawMessage("[" + strings.Join(templates, ",") + "]"), Actor: "test",
	})).ID
}

func (m *market) open() []db.Auction {
	m.t.Helper()
	return must[[]db.Auction](m.t)(m.q.AuctionOpen(m.ctx(), "test"))
}

func (m *market) bid(auction, task, orchestrator int64, template string) (db.Bid, error) {
	estimate := int64(60_000)
	return m.q.BidPlace(m.ctx(), db.BidPlaceParams{Auction: auction, Task: task, Orchestrator: orchestrator, Template: template, EstimateMs: &estimate, Actor: "test"})
}

func (m *market) mustBid(auction, task, orchestrator int64, template string) db.Bid {
	m.t.Helper()
	return must[db.Bid](m.t)(m.bid(auction, task, orchestrator, template))
}

func (m *market) close(auction int64) db.Auction {
	m.t.Helper()
	return must[db.Auction](m.t)(m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: auction, Actor: "test"}))
}

// award is the living award of a task, with its orchestrator; the zero value if there is none.
func (m *market) award(task int64) (award uuid.UUID, orchestrator int64) {
	m.t.Helper()
	row := m.db.Owner.QueryRow(m.ctx(), "select coalesce(max(id::text), $2)::uuid, coalesce(max(orchestrator_id), 0) from awards where task_id = $1 and ended_at is null", task, uuid.Nil.String())
	if err := row.Scan(&award, &orchestrator); err != nil {
		m.t.Fatal(err)
	}
	return award, orchestrator
}

// take is award_take; it answers the enrolment token.
func (m *market) take(award uuid.UUID, orchestrator int64) (int64, error) {
	hash := newHash()
	if _, err := m.q.AwardTake(m.ctx(), db.AwardTakeParams{Award: award, Orchestrator: orchestrator, Hash: hash, Actor: "test"}); err != nil {
		return 0, err
	}
	return int64(m.count("select id from tokens where hash = $1", hash)), nil
}

func (m *market) enrol(token int64, offers string) (db.Agent, error) {
	return m.q.AgentEnrol(m.ctx(), db.AgentEnrolParams{Enrol: token, Hash: newHash(), Name: "started", Capacity: 1, Offers: json.RawMessage(offers), Actor: "test"})
}

// start enrols the agent of an award and says hello; it answers the agent.
func (m *market) start(award uuid.UUID, orchestrator int64, offers string) int64 {
	m.t.Helper()
	a := must[db.Agent](m.t)(m.enrol(must[int64](m.t)(m.take(award, orchestrator)), offers))
	m.hello(a.ID, offers)
	return a.ID
}

func (m *market) hello(agent int64, offers string) {
	m.t.Helper()
	must[db.Agent](m.t)(m.q.AgentHello(m.ctx(), db.AgentHelloParams{Agent: agent, Name: "started", Capacity: 1, Offers: json.RawMessage(offers), Actor: "test"}))
}

func (m *market) firstTask(run int64) int64 {
	m.t.Helper()
	return int64(m.count("select min(id) from tasks where run_id = $1", run))
}

const (
	bigTask = "stages: [{stage: s, requires: {cores: 2, docker_run: true}, steps: [{sh: a}]}]"
	four    = `{"cores": 4, "docker_run": true}`
)

// The auction of the specification: X and Y bid, Z cannot; the cheaper wins, does not start, and the other one gets the task
// without a new round. The user sees attempt 1.
func TestAuction(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	y := m.orchestrator("Y", template("y", `{"cores": 8, "docker_run": true}`, 0.2, 5))
	z := m.orchestrator("Z", template("z", `{"cores": 8, "docker_run": false}`, 0, 5))
	m.agent(`{"cores": 1}`) // is idle, and does not fit
	run := m.run(bigTask)
	task := m.firstTask(run)
	opened := m.open()
	if len(opened) != 1 || m.text("select data ->> 'tasks' from events where kind = 'auction.started' and run_id = $1", run) != fmt.Sprintf("[%d]", task) {
		t.Fatalf("auctions %+v", opened)
	}
	auction := opened[0].ID
	if again := m.open(); len(again) != 0 {
		t.Errorf("the task is auctioned twice: %+v", again)
	}
	m.mustBid(auction, task, x, "x")
	if b := m.mustBid(auction, task, y, "y"); b.Cost != 0.003333 || b.EstimatedBy != "bidder" {
		t.Errorf("bid %+v", b)
	}
	_, err := m.bid(auction, task, z, "z")
	wantRefusal(t, err, db.Conflict, fmt.Sprintf("template z does not fit task %d, which requires cores>=2, docker_run=true: cannot bid", task))
	_, err = m.q.AuctionClose(m.ctx(), db.AuctionCloseParams{Auction: auction, Actor: "test"})
	wantRefusal(t, err, db.Conflict, fmt.Sprintf("auction %d is open: cannot close", auction))
	if due := must[[]db.AuctionsDueRow](t)(m.q.AuctionsDue(m.ctx(), 10)); len(due) != 0 {
		t.Errorf("due are %+v", due)
	}
	_, err = m.bid(auction, task, x, "y")
	wantRefusal(t, err, db.NotFound, "orchestrator X offers no template y")

	m.advance(time.Second)
	_, err = m.bid(auction, task, x, "x")
	wantRefusal(t, err, db.Conflict, fmt.Sprintf("auction %d is over: cannot bid", auction))
	if a := m.close(auction); a.State != "completed" {
		t.Errorf("auction %+v", a)
	}
	if got := m.text("select (data #>> '{tasks,0,winner}') || (data #>> '{tasks,0,cost}') from events where kind = 'auction.completed'"); got != "Y0.003333" {
		t.Errorf("the event says %s", got)
	}
	late, winner := m.award(task)
	if because := m.text("select because from awards where id = $1", late); winner != y || because != "cheapest of 2 bids: Y/y 0.003333, X/x 0.016667" {
		t.Errorf("%d won, because %s", winner, because)
	}
	m.want(run, "running: running[s=provisioning]")

	m.advance(60 * time.Second)
	must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
	must[db.Award](t)(m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: late, Actor: "test"}))
	next, winner := m.award(task)
	if because := m.text("select because from awards where id = $1", next); winner != x || !strings.HasPrefix(because, "next, after Y (late), cheapest living of 2 bids: ") {
		t.Errorf("%d won, because %s", winner, because)
	}
	if n := m.count("select count(*) from auctions"); n != 1 {
		t.Errorf("%d rounds", n)
	}
	agent := m.start(next, x, four)
	l := must[db.Lease](t)(m.q.LeaseOfAttempt(m.ctx(), db.LeaseOfAttemptParams{Task: task}))
	if l.AgentID != agent || l.Epoch != 1 {
		t.Errorf("lease %+v", l)
	}
	m.world.start(held{Lease: l})
	m.finish(held{Lease: l}, "succeeded")
	m.want(run, "succeeded: succeeded[s=succeeded]")
	var kinds []string
	for _, k := range m.kinds(run) {
		if !strings.HasPrefix(k, "run.") && !strings.HasPrefix(k, "stage.") && !strings.HasPrefix(k, "step.") {
			kinds = append(kinds, k)
		}
	}
	if want := []string{"task.ready", "auction.started", "bid.received", "bid.received", "auction.completed", "award.granted", "task.provisioning",
		"award.revoked", "award.granted", "task.provisioning", "award.taken", "award.started", "task.scheduled", "task.started", "task.succeeded", "task.completed"}; !slices.Equal(kinds, want) {
		t.Errorf("events %v", kinds)
	}
}

// With the window at 0 there is demand, and not a single auction.
func TestDemandWithoutAuctions(t *testing.T) {
	t.Parallel()
	m := newMarket(t, 0)
	x := m.orchestrator("X", template("x", four, 1, 1), template("other", `{"os": "plan9"}`, 0, 1))
	run := m.run(bigTask)
	if opened := m.open(); len(opened) != 0 {
		t.Fatalf("auctions %+v", opened)
	}
	var news struct {
		Demand []struct {
			Task      int64
			Templates []string
		}
		Agents []struct{ Agent, Busy int64 }
	}
	read := func() {
		t.Helper()
		news.Demand, news.Agents = nil, nil
		row := must[db.OrchestratorNewsRow](t)(m.q.OrchestratorNews(m.ctx(), x))
		if err := json.Unmarshal(row.News, &news); err != nil {
			t.Fatal(err)
		}
	}
	if read(); len(news.Demand) != 1 || news.Demand[0].Task != m.firstTask(run) || !slices.Equal(news.Demand[0].Templates, []string{"x"}) {
		t.Fatalf("demand %+v", news)
	}
	hash := newHash()
	token := must[db.Token](t)(m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: x, Template: "x", Hash: hash, Actor: "t"}))
	_, err := m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: x, Template: "x", Hash: newHash(), Actor: "t"})
	wantRefusal(t, err, db.Conflict, "template x has all its 1 instances: cannot enrol")
	_, err = m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: x, Template: "y", Hash: newHash(), Actor: "t"})
	wantRefusal(t, err, db.NotFound, "orchestrator X offers no template y")
	agent := must[db.Agent](t)(m.enrol(token.ID, four))
	if read(); len(news.Demand) != 0 || len(news.Agents) != 1 || news.Agents[0].Agent != agent.ID {
		t.Errorf("an idle agent fits, but: %+v", news)
	}
	m.leaseOne(agent.ID)
	if read(); news.Agents[0].Busy != 1 {
		t.Errorf("%+v", news)
	}
	if n := m.count("select count(*) from events where kind ~ '^(auction|bid|award)'"); n != 0 {
		t.Errorf("%d events of auctions", n)
	}
}

// An idle agent that fits takes a task before its award; the auction is void then.
func TestAuctionGivesWay(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	run := m.run(bigTask)
	auction := m.open()[0].ID
	m.mustBid(auction, m.firstTask(run), x, "x")
	agent := m.agent(four)
	m.leaseOne(agent)
	_, err := m.bid(auction, m.firstTask(run), x, "x")
	wantRefusal(t, err, db.Conflict, "is running: cannot bid")
	m.advance(time.Second)
	if a := m.close(auction); a.State != "void" {
		t.Errorf("auction %+v", a)
	}
	other := m.run(bigTask) // it fits an agent with room
	if opened := m.open(); len(opened) != 0 {
		t.Errorf("run %d is auctioned though an agent is idle", other)
	}
}

// Nobody bids: the task stays ready, and each round comes later than the one before. Nobody can bid: there is no auction, and
// the queue time-out fails the task.
func TestAuctionWithoutBids(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	run := m.run(bigTask)
	task := m.firstTask(run)
	for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
		pause := time.Duration(seconds) * time.Second
		must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
		opened := m.open()
		if len(opened) != 1 {
			t.Fatalf("before a pause of %s: %d auctions", pause, len(opened))
		}
		m.advance(time.Second)
		if a := m.close(opened[0].ID); a.State != "failed" {
			t.Fatalf("auction %+v", a)
		}
		m.advance(pause - time.Millisecond)
		must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
		if early := m.open(); len(early) != 0 {
			t.Fatalf("a new round less than %s after the one before", pause)
		}
		m.advance(time.Millisecond)
	}
	m.want(run, "running: running[s=ready]")
	waits := func(want string) {
		t.Helper()
		if got := m.text("select waiting_for from otto_api.waiting where task = $1", task); got != want {
			t.Errorf("it waits for %q, want %q", got, want)
		}
	}
	waits("an agent that offers cores>=2, docker_run=true: none is online; orchestrators are asked for bids")
	m.advance(24 * time.Hour)
	if due := must[[]int64](t)(m.q.TasksStarved(m.ctx(), 10)); len(due) != 0 {
		t.Errorf("tasks %v are given up though an orchestrator is online", due)
	}
	waits("an agent that offers cores>=2, docker_run=true: none is online; those who could start one have no room, are silent or suspended")
	must[db.Orchestrator](t)(m.q.OrchestratorHello(m.ctx(), db.OrchestratorHelloParams{Orchestrator: x, Name: "X", Templates: json.RawMessage("[]"), Actor: "t"}))
	waits("an agent that offers cores>=2, docker_run=true: none is online; no orchestrator can start one")
	m.exec("update cluster set queue_timeout = '30 days'")
	_, err := m.q.TaskStarve(m.ctx(), db.TaskStarveParams{Task: task, Actor: "t"})
	wantRefusal(t, err, db.Conflict, "is ready: cannot give up")
	m.exec("update cluster set queue_timeout = '1 day'")
	if due := must[[]int64](t)(m.q.TasksStarved(m.ctx(), 10)); !slices.Equal(due, []int64{task}) {
		t.Fatalf("tasks %v starve", due)
	}
	agent := m.agent(four)
	_, err = m.q.TaskStarve(m.ctx(), db.TaskStarveParams{Task: task, Actor: "t"})
	wantRefusal(t, err, db.Conflict, "is ready: cannot give up")
	must[db.Agent](t)(m.q.AgentBye(m.ctx(), db.AgentByeParams{Agent: agent, Actor: "t"}))
	must[db.Task](t)(m.q.TaskStarve(m.ctx(), db.TaskStarveParams{Task: task, Actor: "t"}))
	m.want(run, "failed: failed[s=failed]")
	if got := m.task(task); *got.Reason != "no_capable_agent" {
		t.Errorf("reason %s", *got.Reason)
	}
}

// Three awards that come to nothing within an hour suspend their bidder for a quarter of one.
func TestSuspension(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	run := m.run(bigTask)
	task := m.firstTask(run)
	round := func() {
		t.Helper()
		m.advance(30 * time.Second)
		must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
		auction := m.open()[0].ID
		m.mustBid(auction, task, x, "x")
		m.advance(time.Second)
		m.close(auction)
	}
	giveBack := func() {
		t.Helper()
		round()
		award, _ := m.award(task)
		why := "no quota"
		for range 2 {
			must[db.Award](t)(m.q.AwardReturn(m.ctx(), db.AwardReturnParams{Award: award, Orchestrator: x, Reason: &why, Actor: "t"}))
		}
		_, err := m.q.AwardReturn(m.ctx(), db.AwardReturnParams{Award: award, Orchestrator: x + 1, Actor: "t"})
		wantRefusal(t, err, db.Forbidden, "belongs to another orchestrator")
		m.want(run, "running: running[s=ready]")
	}
	suspended := func() int { return m.count("select count(*) from events where kind = 'orchestrator.suspended'") }
	giveBack()
	m.advance(time.Hour) // the first is forgotten
	giveBack()
	giveBack()
	if suspended() != 0 {
		t.Fatal("suspended after two")
	}
	giveBack()
	if suspended() != 1 {
		t.Fatal("not suspended after three")
	}
	m.advance(30 * time.Second)
	must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
	if opened := m.open(); len(opened) != 0 {
		t.Error("an auction for nobody but the suspended")
	}
	_, err := m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: x, Template: "x", Hash: newHash(), Actor: "t"})
	wantRefusal(t, err, db.Conflict, "orchestrator X is suspended until ")
	m.advance(15 * time.Minute)
	giveBack() // one more does not suspend it again
	if suspended() != 1 {
		t.Error("suspended again by what it was suspended for")
	}
	if n := m.task(task).Epoch; n != 0 {
		t.Errorf("attempt %d, though none has begun", n)
	}
}

// What is stopped while its agent is being started ends the award; the agent that comes all the same gets nothing.
func TestAbortWhileProvisioning(t *testing.T) {
	t.Parallel()
	for _, stop := range []string{"run", "task", "quarantine"} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			m := newMarket(t, time.Second)
			x := m.orchestrator("X", template("x", four, 1, 5))
			run := m.run(bigTask)
			task := m.firstTask(run)
			auction := m.open()[0].ID
			m.mustBid(auction, task, x, "x")
			m.advance(time.Second)
			m.close(auction)
			award, _ := m.award(task)
			used := must[int64](t)(m.take(award, x))
			unused := must[int64](t)(m.take(award, x))
			if m.count("select count(*) from tokens where id = $1 and revoked_at is not null", used) != 1 {
				t.Error("the token before is still good")
			}
			first := m.text("select revoked_at::text from tokens where id = $1", used)
			m.advance(time.Second)
			var err error
			switch stop {
			case "run":
				_, err = m.q.RunAbort(m.ctx(), db.RunAbortParams{Run: run, Actor: "t"})
			case "task":
				_, err = m.q.TaskAbort(m.ctx(), db.TaskAbortParams{Task: task, Actor: "t"})
			default:
				_, err = m.q.TaskQuarantine(m.ctx(), db.TaskQuarantineParams{Task: task, Actor: "t", Reason: "r"})
			}
			if err != nil {
				t.Fatal(err)
			}
			if again := m.text("select revoked_at::text from tokens where id = $1", used); again != first {
				t.Error("a token was revoked twice")
			}
			if left, _ := m.award(task); left != uuid.Nil {
				t.Error("the award lives")
			}
			news := string(must[db.OrchestratorNewsRow](t)(m.q.OrchestratorNews(m.ctx(), x)).News)
			if !strings.Contains(news, fmt.Sprintf(`"ended": [{"task": %d, "award": %q, "reason": "aborted"}]`, task, award)) {
				t.Errorf("the orchestrator is told %s", news)
			}
			_, err = m.enrol(unused, four)
			wantRefusal(t, err, db.Forbidden, "is used, revoked or expired")
			_, err = m.take(award, x)
			wantRefusal(t, err, db.Conflict, "is over (aborted): cannot take")
		})
	}
}

// An agent that was started for an award and does not fit gets nothing, and the award is over; likewise when the orchestrator goes
// out of service, or its credential.
func TestAwardComesToNothing(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 5))
	run := m.run(bigTask)
	task := m.firstTask(run)
	win := func() uuid.UUID {
		t.Helper()
		m.advance(30 * time.Second)
		must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
		auction := m.open()[0].ID
		m.mustBid(auction, task, x, "x")
		m.advance(time.Second)
		m.close(auction)
		award, _ := m.award(task)
		return award
	}
	award := win()
	agent := m.start(award, x, `{"cores": 1}`)
	m.want(run, "running: running[s=ready]")
	if n := m.count("select count(*) from tokens where award_id = $1 and used_at is not null and revoked_at is null", award); n != 1 {
		t.Errorf("%d used tokens, not revoked", n)
	}
	if got := m.text("select end_reason from awards where id = $1", award); got != "unfit" {
		t.Errorf("the award is over by %s", got)
	}
	must[db.Agent](t)(m.q.AgentBye(m.ctx(), db.AgentByeParams{Agent: agent, Actor: "t"}))
	award = win()
	_, err := m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: award, Actor: "t"})
	wantRefusal(t, err, db.Conflict, "is not late: cannot expire")
	_, err = m.q.AwardReturn(m.ctx(), db.AwardReturnParams{Award: award, Orchestrator: x + 1, Actor: "t"})
	wantRefusal(t, err, db.Forbidden, "belongs to another orchestrator: cannot give back")
	_, err = m.take(award, x+1)
	wantRefusal(t, err, db.Forbidden, "belongs to another orchestrator: cannot take")
	credential := int64(m.count("select id from tokens where kind = 'orchestrator'"))
	must[db.Token](t)(m.q.TokenRevoke(m.ctx(), db.TokenRevokeParams{Token: credential, Actor: "t"}))
	if due := must[[]db.AuctionsDueRow](t)(m.q.AuctionsDue(m.ctx(), 10)); len(due) != 1 || *due[0].Award != award {
		t.Fatalf("due are %+v", due)
	}
	must[db.Award](t)(m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: award, Actor: "t"}))
	if got := m.text("select end_reason from awards where id = $1", award); got != "lost" {
		t.Errorf("the award is over by %s", got)
	}
	must[db.Run](t)(m.q.RunAbort(m.ctx(), db.RunAbortParams{Run: run, Actor: "t"}))
	if got := m.text("select string_agg(end_reason, ' ' order by awarded_at) from awards"); got != "unfit lost" {
		t.Errorf("the awards that were over ended again: %s", got)
	}
	_, err = m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"})
	wantRefusal(t, err, db.Conflict, "orchestrator 1 is disabled: cannot renew")
}

// No template wins more than it has room for, nor does one that is silent; and who has no estimate gets the median of what the
// task took there before.
func TestRoomAndEstimates(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	x := m.orchestrator("X", template("x", four, 1, 2))
	const many = "stages: [{parallel: [{task: a, requires: {cores: 2}, steps: [{sh: a}]}, {task: b, requires: {cores: 2}, steps: [{sh: a}]}, {task: c, requires: {cores: 2}, steps: [{sh: a}]}]}]"
	run := m.run(many)
	auction := m.open()[0].ID
	first := m.firstTask(run)
	for i := range int64(3) {
		m.mustBid(auction, first+i, x, "x")
	}
	if b, again := m.mustBid(auction, first, x, "x"), m.count("select count(*) from events where kind = 'bid.received'"); again != 3 || b.TaskID != first {
		t.Errorf("a repeated bid is an event: %d", again)
	}
	m.advance(time.Second)
	m.close(auction)
	m.want(run, "running: running[a=provisioning b=provisioning c=ready]")
	if opened := m.open(); len(opened) != 0 {
		t.Error("an auction without anybody who has room")
	}
	for i := range int64(2) {
		award, _ := m.award(first + i)
		m.start(award, x, four)
		l := must[db.Lease](t)(m.q.LeaseOfAttempt(m.ctx(), db.LeaseOfAttemptParams{Task: first + i}))
		m.world.start(held{Lease: l})
		m.advance(time.Duration(10*(i+1)) * time.Second)
		m.finish(held{Lease: l}, "succeeded")
		must[db.Agent](t)(m.q.AgentBye(m.ctx(), db.AgentByeParams{Agent: l.AgentID, Actor: "t"}))
	}
	must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
	again := m.run(many)
	m.exec("update tasks set state = 'blocked' where run_id = $1 and state = 'ready'", run)
	auction, first = m.open()[0].ID, m.firstTask(again)
	for task, want := range map[int64]string{first: "10000 history", first + 1: "20000 history", first + 2: "60000 default"} {
		b := must[db.Bid](t)(m.q.BidPlace(m.ctx(), db.BidPlaceParams{Auction: auction, Task: task, Orchestrator: x, Template: "x", Actor: "t"}))
		if got := fmt.Sprint(b.EstimateMs, " ", b.EstimatedBy); got != want {
			t.Errorf("task %d takes %s, want %s", task, got, want)
		}
	}
	m.advance(31 * time.Second)
	m.close(auction)
	m.want(again, "running: running[a=ready b=ready c=ready]")
}

// Where no template fits there is no auction; one that is silent, or goes, is not asked, and those who are out of service stay so.
func TestOrchestratorsForgotten(t *testing.T) {
	t.Parallel()
	m := newMarket(t, time.Second)
	small := m.orchestrator("S", template("s", `{"cores": 1}`, 1, 5))
	m.run(bigTask)
	if opened := m.open(); len(opened) != 0 {
		t.Errorf("auctions %+v for nobody", opened)
	}
	x := m.orchestrator("X", template("x", four, 1, 5))
	must[db.Orchestrator](t)(m.q.OrchestratorDisable(m.ctx(), db.OrchestratorDisableParams{Orchestrator: small, Disabled: true, Actor: "t"}))
	states := func() string {
		t.Helper()
		return m.text("select string_agg(name || '=' || state, ' ' order by id) from orchestrators")
	}
	reconcile := func() {
		t.Helper()
		m.beat()
		must[db.RunReconcileRow](t)(m.q.RunReconcile(m.ctx(), "t"))
	}
	m.advance(89 * time.Second)
	if opened := m.open(); len(opened) != 0 {
		t.Errorf("auctions %+v for the silent", opened)
	}
	m.exec("update cluster set judge_from = '2000-01-01'")
	m.exec("update servers set seen_at = otto.clock()")
	reconcile()
	if got := states(); got != "S=disabled X=online" {
		t.Error(got)
	}
	m.advance(2 * time.Second)
	m.exec("update servers set seen_at = otto.clock() - interval '1 hour'")
	must[db.RunReconcileRow](t)(m.q.RunReconcile(m.ctx(), "t"))
	if got := states(); got != "S=disabled X=online" {
		t.Error("forgotten while no server could hear it: " + got)
	}
	m.exec("update servers set seen_at = otto.clock()")
	reconcile()
	if got := states(); got != "S=disabled X=offline" {
		t.Error(got)
	}
	must[db.Orchestrator](t)(m.q.OrchestratorBeat(m.ctx(), db.OrchestratorBeatParams{Orchestrator: x, Actor: "t"}))
	if got := m.text("select string_agg(kind || coalesce(' ' || (data ->> 'reason'), ''), ', ' order by id) from events where kind ~ '^orchestrator.o'"); got != "orchestrator.offline silent, orchestrator.online" {
		t.Error(got)
	}
}

// What a lost job table has lost is found again: auctions to close, and awards to take away.
func TestAuctionJobsAreFound(t *testing.T) {
	t.Parallel()
	m, _, _, _, _ := won(t)
	other := m.run(bigTask)
	must[[]db.Auction](t)(m.q.AuctionOpen(m.ctx(), "t"))
	m.exec("delete from river.river_job")
	find := func(want string) {
		t.Helper()
		m.exec("select * from otto.run_reconcile('t')")
		if got := m.text("select coalesce(string_agg(kind, ' ' order by id), '') from river.river_job where kind ~ '^(auction|award)'"); got != want {
			t.Errorf("run %d: found %q, want %q", other, got, want)
		}
	}
	find("")
	m.advance(2 * time.Minute)
	find("auction_close award_expire")
	find("auction_close award_expire")
}
