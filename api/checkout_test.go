package api

import (
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
)

// A run of a repository carries it, in place of a source, to agents that can check out; to no others.
func TestRunOfARepository(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	commit := strings.Repeat("ab", 20)
	asked := client.RunCreate{Plan: plan, Repository: "https://host/team/app", Ref: "main", Commit: commit}
	run := into[client.Run](t, n.do("writer", "POST", "/v1/runs", asked), 201)
	want := client.Checkout{Repository: asked.Repository, Ref: "main", Commit: commit}
	if got := (client.Checkout{Repository: run.Repository, Ref: run.Ref, Commit: run.Commit}); got != want || run.Source != "" {
		t.Errorf("the run is of %+v", run)
	}

	plain, _ := n.enrol(client.AgentOffer{Name: "plain", Capacity: 1, Protocol: []string{client.ProtocolTask}})
	if answer, err := plain.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 100}); err != nil || len(answer.Leases) > 0 {
		t.Errorf("an agent that cannot check out got %+v, %v", answer.Leases, err)
	}
	able, _ := n.enrol(client.AgentOffer{Name: "able", Capacity: 1, Protocol: []string{client.ProtocolTask}, Offers: map[string]any{client.OfferCheckout: true}})
	lease := take(t, able)
	if lease.Checkout == nil || *lease.Checkout != want || lease.Source != nil {
		t.Errorf("the lease has %+v and %+v", lease.Checkout, lease.Source)
	}

	into[client.Run](t, n.do("writer", "POST", "/v1/runs/"+decimal(run.Run)+"/abort", nil), 200)
	again := into[client.Run](t, n.do("writer", "POST", "/v1/runs/"+decimal(run.Run)+"/rerun", nil), 201)
	if again.Repository != asked.Repository || again.Commit != commit || again.Ref != "main" {
		t.Errorf("the rerun is of %+v", again)
	}
}

func TestRunOfNoRepository(t *testing.T) {
	t.Parallel()
	n := start(t)
	plan := n.plan(smallOttofile)
	commit := strings.Repeat("ab", 20)
	for why, asked := range map[string]client.RunCreate{
		"needs a plan":         {Repository: "https://host/a", Commit: commit},
		"none is given":        {Plan: plan, Commit: commit},
		"hexadecimal":          {Plan: plan, Repository: "https://host/a", Commit: "main"},
		"either a source or":   {Plan: plan, Repository: "https://host/a", Commit: commit, Source: digestOf(nil)},
		"is no address":        {Plan: plan, Repository: "ext::sh", Commit: commit},
		"has a password in it": {Plan: plan, Repository: "https://a:hunter2@host/a", Commit: commit},
		"begins with a dash":   {Plan: plan, Repository: "https://host/a", Commit: commit, Ref: "--upload-pack=touch"},
	} {
		p := refused(t, n.do("writer", "POST", "/v1/runs", asked), 422, "invalid")
		if !strings.Contains(p.Detail, why) || strings.Contains(p.Detail, "hunter2") {
			t.Errorf("%q, want %q in it", p.Detail, why)
		}
	}
}
