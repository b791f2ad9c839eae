package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

// A bidder is an orchestrator of the test: it bids on everything that is offered to it, and starts agents or does not.
type bidder struct {
	*client.Client
	f      *fleet
	name   string
	starts bool

	mu     sync.Mutex
	seen   []int64 // auctions
	ending []string
}

// bidder enrols an orchestrator with one template, and lets it work until the test ends.
func (f *fleet) bidder(name string, price float64, offers map[string]any, starts bool) *bidder {
	f.t.Helper()
	enrol := strings.TrimSpace(f.otto("token", "create", "--role", "enrol-orchestrator"))
	enrolled, err := f.with(enrol).OrchestratorEnrol(f.t.Context(), client.OrchestratorOffer{
		Name: name, Templates: []client.Template{{Name: strings.ToLower(name), Offers: offers, Price: price, Instances: 5}},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	b := &bidder{Client: f.with(enrolled.Token), f: f, name: name, starts: starts}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	var working sync.WaitGroup
	working.Go(func() { b.work(ctx) })
	f.t.Cleanup(func() { cancel(); working.Wait() })
	return b
}

func (f *fleet) with(token string) *client.Client {
	f.t.Helper()
	c, err := client.New(client.Config{URL: f.url, Token: token})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (b *bidder) work(ctx context.Context) {
	started := map[string]bool{}
	for known := ""; ctx.Err() == nil; {
		d, err := b.OrchestratorDemand(ctx, client.DemandOptions{Known: known})
		if err != nil {
			continue
		}
		known = d.Version
		for _, a := range d.Auctions {
			b.bid(ctx, a)
		}
		for _, w := range d.Awards {
			if b.starts && !started[w.Award] {
				started[w.Award] = true
				b.startAgent(ctx, w)
			}
		}
		b.mu.Lock()
		for _, e := range d.Ended {
			if !slices.Contains(b.ending, e.Award+" "+e.Reason) {
				b.ending = append(b.ending, e.Award+" "+e.Reason)
			}
		}
		b.mu.Unlock()
	}
}

func (b *bidder) bid(ctx context.Context, a client.OpenAuction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.seen, a.Auction) {
		return
	}
	b.seen = append(b.seen, a.Auction)
	estimate := int64(60_000)
	for _, lot := range a.Tasks {
		if _, err := b.BidPlace(ctx, client.BidPlace{Auction: a.Auction, Task: lot.Task, Template: lot.Templates[0], EstimateMS: &estimate}); err != nil {
			b.f.t.Errorf("%s bids: %v", b.name, err)
		}
	}
}

func (b *bidder) startAgent(ctx context.Context, w client.LivingAward) {
	taken, err := b.AwardTake(ctx, w.Award)
	if err != nil {
		b.f.t.Errorf("%s takes its award: %v", b.name, err)
		return
	}
	b.f.start([]string{"OTTO_ENROL_TOKEN=" + taken.Token}, "agent", "--isolation", "S0", "--once", "--name", "of-"+b.name, "--dir", b.f.path("agent-"+w.Award),
		"--label", "cores=4", "--label", "docker_run=true")
}

func (b *bidder) auctions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

// kinds lists a run's events of auctions, awards and tasks, in order, with who is behind them.
func (f *fleet) kinds(run int64) (list []string) {
	f.t.Helper()
	rows, err := f.db.Owner.Query(f.t.Context(), `select concat_ws(' ', kind, case when kind = 'bid.received' then data ->> 'template' when kind ~ '^award' then data ->> 'orchestrator' end)
		from events where run_id = $1 and kind ~ '^(auction|bid|award|task)\.' order by tx, id`, run)
	if err != nil {
		f.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		if err := rows.Scan(&kind); err != nil {
			f.t.Fatal(err)
		}
		list = append(list, kind)
	}
	return list
}

const auctioned = "stages: [{stage: s, requires: {cores: 2, docker_run: true}, steps: [{sh: 'echo done'}]}]"

// The acceptance test of auctions. Window 1 s; X offers {cores 4, docker_run, price 1.0, est 60 s}, Y {cores 8, docker_run, price 0.2, est
// 60 s}, Z {no docker_run, price 0}; the task needs cores ≥ 2 and docker_run.
func TestAuction(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 30*time.Second)
	f.exec("update cluster set auction_window = '1 second', award_within = '2 seconds'")
	f.server(f.url)
	f.worker()
	x := f.bidder("X", 1, map[string]any{"cores": 4, "docker_run": true}, true)
	y := f.bidder("Y", 0.2, map[string]any{"cores": 8, "docker_run": true}, false)
	z := f.bidder("Z", 0, map[string]any{"cores": 8, "docker_run": false}, true)

	run := f.submit(auctioned)
	task := f.show(run).Stages[0].Tasks[0].Task
	// Z cannot bid, and is told nothing of it.
	f.eventually("an auction", func() bool { return y.auctions() > 0 })
	auction := int64(f.number("select auction_id from auction_tasks where task_id = $1", task))
	if _, err := z.BidPlace(t.Context(), client.BidPlace{Auction: auction, Task: task, Template: "z"}); !client.IsStatus(err, http.StatusConflict) {
		t.Errorf("Z bids: %v", err)
	}
	// Y wins, and never starts: X is awarded without a new round.
	if end := f.end(run); end.State != "succeeded" {
		t.Errorf("run %s", states(end))
	}
	if z.auctions() != 0 {
		t.Error("Z was offered an auction")
	}
	kinds := f.kinds(run)
	bids := slices.DeleteFunc(slices.Clone(kinds), func(k string) bool { return !strings.HasPrefix(k, "bid.") })
	slices.Sort(bids)
	if !slices.Equal(bids, []string{"bid.received x", "bid.received y"}) {
		t.Errorf("bids %v", bids)
	}
	rest := slices.DeleteFunc(kinds, func(k string) bool { return strings.HasPrefix(k, "bid.") })
	if want := []string{"task.ready", "auction.started", "auction.completed", "award.granted Y", "task.provisioning", "award.revoked Y", "award.granted X", "task.provisioning",
		"award.taken", "award.started", "task.scheduled", "task.started", "task.succeeded", "task.completed"}; !slices.Equal(rest, want) {
		t.Errorf("events\n%v, want\n%v", rest, want)
	}
	shown, err := f.client().TaskShow(t.Context(), task)
	if err != nil || shown.Attempt != 1 || len(shown.Auctions) != 1 {
		t.Fatalf("task %+v %v", shown, err)
	}
	a := shown.Auctions[0]
	if a.State != "completed" || a.Round != 1 || len(a.Bids) != 2 || a.Bids[0].Orchestrator != "Y" || a.Bids[0].Cost != 0.003333 || a.Bids[1].Cost != 0.016667 {
		t.Errorf("auction %+v", a)
	}
	if len(a.Awards) != 2 || a.Awards[0].EndReason != "late" || a.Awards[1].EndReason != "started" {
		t.Fatalf("awards %+v", a.Awards)
	}
	if a.Awards[0].Because != "cheapest of 2 bids: Y/y 0.003333, X/x 0.016667" {
		t.Errorf("because %s", a.Awards[0].Because)
	}
	if text := f.otto("show", fmt.Sprint(run)); !strings.Contains(text, "s was won by Y, because cheapest of 2 bids: Y/y 0.003333, X/x 0.016667 (late)\n") ||
		!strings.Contains(text, "s was won by X, because next, after Y (late), cheapest living of 2 bids: ") {
		t.Errorf("otto show says\n%s", text)
	}
	if text := f.otto("orchestrator", "list"); !strings.Contains(text, "y: 5 at 0.2 (cores=8 docker_run=true)") {
		t.Errorf("otto orchestrator list says\n%s", text)
	}
	f.eventually("Y is told that its award is over", func() bool {
		y.mu.Lock()
		defer y.mu.Unlock()
		return slices.Equal(y.ending, []string{a.Awards[0].Award + " late"})
	})

	// Nobody can bid: the task stays ready and says what is missing; after the queue time-out it fails.
	stuck := f.submit(strings.Replace(auctioned, "cores: 2", "cores: 64", 1))
	f.eventually("the reason", func() bool {
		return strings.Contains(f.show(stuck).Stages[0].Tasks[0].WaitingFor, "no orchestrator can start one")
	})
	if got := f.show(stuck).Stages[0].Tasks[0]; got.State != "ready" {
		t.Errorf("task %+v", got)
	}
	f.exec("update cluster set queue_timeout = '1 second'")
	if end := f.end(stuck); end.State != "failed" || end.Stages[0].Tasks[0].Reason != "no_capable_agent" {
		t.Errorf("run %+v", end)
	}
	if kinds := f.kinds(stuck); slices.ContainsFunc(kinds, func(k string) bool { return strings.HasPrefix(k, "auction.") }) {
		t.Errorf("events %v", kinds)
	}

	// With the window at 0 the same pipeline has no event of an auction at all.
	f.exec("update cluster set auction_window = '0', queue_timeout = '1 day'")
	plain := f.submit(auctioned)
	f.eventually("demand", func() bool {
		d, err := x.OrchestratorDemand(t.Context(), client.DemandOptions{})
		return err == nil && len(d.Demand) == 1
	})
	enrolment, err := x.EnrolmentCreate(t.Context(), client.EnrolmentCreate{Template: "x"})
	if err != nil {
		t.Fatal(err)
	}
	f.start([]string{"OTTO_ENROL_TOKEN=" + enrolment.Token}, "agent", "--isolation", "S0", "--once", "--dir", f.path("plain"), "--label", "cores=4", "--label", "docker_run=true")
	if end := f.end(plain); end.State != "succeeded" {
		t.Errorf("run %s", states(end))
	}
	if got := fmt.Sprint(f.kinds(plain)); got != "[task.ready task.scheduled task.started task.succeeded task.completed]" {
		t.Errorf("events %s", got)
	}
}
