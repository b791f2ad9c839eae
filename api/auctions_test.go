package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

// orchestrator enrols one with a template.
func (n *node) orchestrator(name string, template client.Template) *client.Client {
	n.t.Helper()
	enrolled, err := n.with(n.newToken("enrol-orchestrator")).OrchestratorEnrol(n.t.Context(), client.OrchestratorOffer{Name: name, Templates: []client.Template{template}})
	if err != nil {
		n.t.Fatal(err)
	}
	return n.with(enrolled.Token)
}

// until asks for demand until it is as wanted.
func (n *node) until(c *client.Client, is func(client.Demand) bool) client.Demand {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 20*time.Second)
	defer cancel()
	for known := ""; ; {
		d, err := c.OrchestratorDemand(ctx, client.DemandOptions{Known: known})
		if err != nil {
			n.t.Fatal(err)
		}
		if is(d) {
			return d
		}
		known = d.Version
	}
}

const bigOttofile = "stages: [{stage: s, requires: {cores: 2, docker_run: true}, steps: [{sh: a}]}]"

// The protocol from end to end: two orchestrators bid, the cheaper wins and gives back, the other takes the award, and the agent that
// enrols with its token is granted the task with its first request, as attempt 1. Everything is readable afterwards.
func TestAuctionProtocol(t *testing.T) {
	t.Parallel()
	n := start(t)
	if _, err := n.db.Owner.Exec(t.Context(), "update cluster set auction_window = '300 milliseconds'"); err != nil {
		t.Fatal(err)
	}
	offers := map[string]any{"cores": 4, "docker_run": true}
	x := n.orchestrator("X", client.Template{Name: "x", Offers: offers, Price: 1, Instances: 2})
	y := n.orchestrator("Y", client.Template{Name: "y", Offers: offers, Price: 0.2, Instances: 2})
	n.run(bigOttofile)
	bid := func(c *client.Client) {
		d := n.until(c, func(d client.Demand) bool { return len(d.Auctions) == 1 })
		lot := d.Auctions[0].Tasks[0]
		if _, err := c.BidPlace(t.Context(), client.BidPlace{Auction: d.Auctions[0].Auction, Task: lot.Task, Template: lot.Templates[0]}); err != nil {
			t.Fatal(err)
		}
	}
	bid(x)
	bid(y)
	won := n.until(y, func(d client.Demand) bool { return len(d.Awards) == 1 }).Awards[0]
	if err := y.AwardReturn(t.Context(), won.Award, client.AwardReturn{Reason: "no quota"}); err != nil {
		t.Fatal(err)
	}
	if d := n.until(y, func(d client.Demand) bool { return len(d.Ended) == 1 }); d.Ended[0].Award != won.Award || d.Ended[0].Reason != "returned" {
		t.Errorf("ended %+v", d.Ended)
	}
	next := n.until(x, func(d client.Demand) bool { return len(d.Awards) == 1 }).Awards[0]
	if _, err := y.AwardTake(t.Context(), next.Award); !client.IsStatus(err, 403) {
		t.Errorf("somebody else took the award: %v", err)
	}
	taken, err := x.AwardTake(t.Context(), next.Award)
	if err != nil {
		t.Fatal(err)
	}
	agent := n.startAgent(taken.Token, offers)
	began := time.Now()
	work, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 10_000})
	if err != nil || len(work.Leases) != 1 || work.Leases[0].Epoch != 1 || work.Leases[0].Task != next.Task {
		t.Fatalf("work %+v %v after %s", work, err, time.Since(began))
	}
	shown, err := n.client("reader").TaskShow(t.Context(), next.Task)
	if err != nil || len(shown.Auctions) != 1 || len(shown.Auctions[0].Bids) != 2 || len(shown.Auctions[0].Awards) != 2 {
		t.Fatalf("task %+v %v", shown, err)
	}
	if a := shown.Auctions[0]; a.Bids[0].Orchestrator != "Y" || a.Awards[0].EndReason != "returned" || a.Awards[1].EndReason != "started" ||
		!strings.HasPrefix(a.Awards[1].Because, "next, after Y (returned), cheapest living of 2 bids: ") {
		t.Errorf("auction %+v", a)
	}
	listed, err := n.client("reader").OrchestratorList(t.Context(), client.ListOptions{})
	if err != nil || len(listed.Items) != 2 || listed.Items[0].Agents != 1 || listed.Items[0].Templates[0].Name != "x" {
		t.Errorf("orchestrators %+v %v", listed, err)
	}
}

// startAgent enrols an agent with a token and says hello.
func (n *node) startAgent(token string, offers map[string]any) *client.Client {
	n.t.Helper()
	offer := client.AgentOffer{Name: "started", Capacity: 1, Offers: offers, Protocol: []string{client.ProtocolTask}}
	enrolled, err := n.with(token).AgentEnrol(n.t.Context(), offer)
	if err != nil {
		n.t.Fatal(err)
	}
	c := n.with(enrolled.Token)
	if _, err := c.AgentHello(n.t.Context(), offer); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// Without auctions an orchestrator learns what is wanted, and starts agents for it.
func TestDemandProtocol(t *testing.T) {
	t.Parallel()
	n := start(t)
	offers := map[string]any{"cores": 4, "docker_run": true}
	x := n.orchestrator("X", client.Template{Name: "x", Offers: offers, Instances: 1})
	quiet, err := x.OrchestratorDemand(t.Context(), client.DemandOptions{})
	if err != nil || len(quiet.Demand) != 0 {
		t.Fatalf("demand %+v %v", quiet, err)
	}
	if same, err := x.OrchestratorDemand(t.Context(), client.DemandOptions{Known: quiet.Version, WaitMS: 10}); err != nil || same.Version != quiet.Version {
		t.Errorf("demand %+v %v", same, err)
	}
	n.run(bigOttofile)
	d := n.until(x, func(d client.Demand) bool { return len(d.Demand) == 1 })
	if d.Demand[0].Templates[0] != "x" || d.Demand[0].Requires["cores"] != 2.0 || d.Demand[0].Project == "" {
		t.Errorf("demand %+v", d)
	}
	enrolment, err := x.EnrolmentCreate(t.Context(), client.EnrolmentCreate{Template: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.EnrolmentCreate(t.Context(), client.EnrolmentCreate{Template: "x"}); !client.IsStatus(err, 409) {
		t.Errorf("one more than there may be: %v", err)
	}
	agent := n.startAgent(enrolment.Token, offers)
	if work, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 10_000}); err != nil || len(work.Leases) != 1 {
		t.Fatalf("work %+v %v", work, err)
	}
	d = n.until(x, func(d client.Demand) bool { return len(d.Agents) == 1 && d.Agents[0].Busy == 1 })
	if len(d.Demand) != 0 {
		t.Errorf("demand %+v", d.Demand)
	}
	if _, err := x.OrchestratorHeartbeat(t.Context()); err != nil {
		t.Error(err)
	}
	if err := x.OrchestratorBye(t.Context()); err != nil {
		t.Error(err)
	}
}
