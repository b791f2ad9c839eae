package api

import (
	"sync"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

// A revoked agent is refused by all nodes within 5 s, whatever it asks and how often; and its work is another's at once.
func TestRevokedAgentLosesItsWork(t *testing.T) {
	t.Parallel()
	n := start(t)
	other := startOn(t, n.db, n.store, func(c *Config) { c.Name = "other" })
	victim, enrolled := other.enrol(client.AgentOffer{Name: "victim"})
	heir, _ := n.enrol(client.AgentOffer{Name: "heir"})
	n.run(smallOttofile)
	lease := begin(t, victim)
	tokens, err := n.client("admin").TokenList(t.Context(), client.ListOptions{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens.Items {
		if token.Kind == "agent" && token.Name == enrolled.Agent.Name {
			if _, err := n.client("admin").TokenRevoke(t.Context(), token.Token); err != nil {
				t.Fatal(err)
			}
		}
	}
	revoked := time.Now()
	if next := take(t, heir); next.Task != lease.Task || next.Epoch != lease.Epoch+1 {
		t.Errorf("the heir got %+v", next)
	}
	calls := map[string]func(*client.Client) error{
		"heartbeat": func(c *client.Client) error {
			beat, err := c.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{lease.ID}})
			if err == nil && (len(beat.Fenced) != 1 || beat.Fenced[0] != lease.ID) {
				t.Errorf("the lease is renewed: %+v", beat)
			}
			return err
		},
		"steps": func(c *client.Client) error {
			_, err := c.LeaseSteps(t.Context(), lease.ID, client.StepReports{Epoch: lease.Epoch, Steps: []client.StepReport{{State: client.Succeeded}}})
			return err
		},
		"finish": func(c *client.Client) error {
			_, err := c.LeaseFinish(t.Context(), lease.ID, client.LeaseFinish{Epoch: lease.Epoch})
			return err
		},
		"take": func(c *client.Client) error {
			answer, err := c.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 50})
			if len(answer.Leases) > 0 {
				t.Errorf("it is given work: %+v", answer)
			}
			return err
		},
	}
	var contenders sync.WaitGroup
	for name, call := range calls {
		for range 2 {
			contenders.Go(func() {
				for {
					asked := time.Since(revoked)
					err := call(victim)
					if client.IsStatus(err, 401) {
						break
					}
					if err == nil && (name == "steps" || name == "finish") {
						t.Errorf("%s was taken", name)
					}
					if asked > 5*time.Second {
						t.Errorf("%s is answered after %s: %v", name, asked, err)
						return
					}
				}
				if err := call(victim); !client.IsStatus(err, 401) {
					t.Errorf("%s is answered again: %v", name, err)
				}
			})
		}
	}
	contenders.Wait()
}
