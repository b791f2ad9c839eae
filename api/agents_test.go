package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/ottoci/otto/client"
)

// digestOf names bytes.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// take gives an agent one lease.
func take(t *testing.T, agent *client.Client) client.Lease {
	t.Helper()
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1, WaitMS: 20_000})
	if err != nil || len(answer.Leases) != 1 {
		t.Fatalf("got %+v, %v; want one lease", answer, err)
	}
	return answer.Leases[0]
}

// begin takes a lease and starts it.
func begin(t *testing.T, agent *client.Client) client.Lease {
	t.Helper()
	lease := take(t, agent)
	if _, err := agent.LeaseStart(t.Context(), lease.ID, client.LeaseStart{Epoch: lease.Epoch}); err != nil {
		t.Fatal(err)
	}
	return lease
}

// finish ends a lease with success and without a log.
func finish(t *testing.T, agent *client.Client, lease client.Lease) client.LeaseState {
	t.Helper()
	zero := 0
	state, err := agent.LeaseFinish(t.Context(), lease.ID, client.LeaseFinish{
		Epoch: lease.Epoch, ExitCode: &zero, Steps: []client.StepReport{{State: "succeeded", ExitCode: &zero}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestAgentsThatFit(t *testing.T) {
	t.Parallel()
	n := start(t)
	n.enrol(client.AgentOffer{Name: "small", Version: "1", Capacity: 1, Offers: map[string]any{"os": "linux", "cores": 2}})
	n.enrol(client.AgentOffer{Name: "large", Version: "1", Capacity: 1, Offers: map[string]any{"os": "linux", "cores": 8, "tools": []string{"go"}}})
	users := n.client("reader")
	for _, row := range []struct {
		requires map[string]any
		want     []string
	}{
		{nil, []string{"small", "large"}},
		{map[string]any{"os": "linux"}, []string{"small", "large"}},
		{map[string]any{"os": "linux", "cores": 4}, []string{"large"}},
		{map[string]any{"tools": "go"}, []string{"large"}},
		{map[string]any{"os": "lin\u00fcx \"'"}, nil},
	} {
		page, err := users.AgentList(t.Context(), client.AgentListOptions{Requires: row.requires})
		var names []string
		for _, agent := range page.Items {
			names = append(names, agent.Name)
		}
		if err != nil || !slices.Equal(names, row.want) {
			t.Errorf("%v: %v, want %v (%v)", row.requires, names, row.want, err)
		}
	}
	for _, requires := range []string{"[]", "null", "{", `{"a":"\u0000"}`} {
		if got := n.do("reader", http.MethodGet, "/v1/agents?requires="+url.QueryEscape(requires), nil); got.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: status %d", requires, got.status)
		}
	}
}

func TestAgentLife(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{Name: "box", Version: "1", Capacity: 2, Offers: map[string]any{"os": "linux", "cores": 8}})
	if enrolled.Settings.LeaseTTLMS != 30_000 || enrolled.Settings.HeartbeatMS != 10_000 || enrolled.Settings.ChunkBytes == 0 {
		t.Errorf("settings %+v", enrolled.Settings)
	}
	welcome, err := agent.AgentHello(t.Context(), client.AgentOffer{Name: "box2", Version: "2", Capacity: 3})
	if err != nil || welcome.Agent.Name != "box2" || welcome.Agent.Capacity != 3 {
		t.Error(welcome, err)
	}
	users := n.client("reader")
	if shown, err := users.AgentShow(t.Context(), enrolled.Agent.Agent); err != nil || shown.State != "online" {
		t.Error(shown, err)
	}
	if page, err := users.AgentList(t.Context(), client.AgentListOptions{State: "online"}); err != nil || len(page.Items) != 1 {
		t.Error(page, err)
	}
	if err := agent.AgentBye(t.Context()); err != nil {
		t.Fatal(err)
	}
	if shown, err := users.AgentShow(t.Context(), enrolled.Agent.Agent); err != nil || shown.State != "offline" {
		t.Error(shown, err)
	}
	admin := n.client("admin")
	if disabled, err := admin.AgentDisable(t.Context(), enrolled.Agent.Agent); err != nil || disabled.State != "disabled" {
		t.Error(disabled, err)
	}
	if _, err := admin.AgentDisable(t.Context(), enrolled.Agent.Agent); !client.IsStatus(err, 409) {
		t.Error(err)
	}
	if _, err := agent.AgentHello(t.Context(), client.AgentOffer{Name: "x", Version: "2", Capacity: 1}); !client.IsStatus(err, 409) {
		t.Error(err)
	}
	if enabled, err := admin.AgentEnable(t.Context(), enrolled.Agent.Agent); err != nil || enabled.State != "offline" {
		t.Error(enabled, err)
	}
}

func TestEnrolmentTokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := n.with(n.newToken("enrol"))
	offer := client.AgentOffer{Name: "a", Version: "1", Capacity: 1}
	if _, err := c.AgentEnrol(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AgentEnrol(t.Context(), offer); !client.IsStatus(err, 403) {
		t.Error(err)
	}
}

func TestReportsAreFenced(t *testing.T) {
	t.Parallel()
	n := start(t)
	mine, _ := n.enrol(client.AgentOffer{Name: "mine"})
	other, _ := n.enrol(client.AgentOffer{Name: "other"})
	n.run(smallOttofile)
	lease := begin(t, mine)
	calls := map[string]func(c *client.Client, lease string, epoch int) error{
		"start": func(c *client.Client, id string, epoch int) error {
			_, err := c.LeaseStart(t.Context(), id, client.LeaseStart{Epoch: epoch})
			return err
		},
		"steps": func(c *client.Client, id string, epoch int) error {
			_, err := c.LeaseSteps(t.Context(), id, client.StepReports{Epoch: epoch, Steps: []client.StepReport{{State: "running"}}})
			return err
		},
		"log": func(c *client.Client, id string, epoch int) error {
			_, err := c.LeaseLog(t.Context(), id, client.LogChunk{Epoch: epoch, Encoding: "identity", Bytes: 1, Data: []byte("x"),
				Segments: []client.Segment{{Kind: "stdout", Bytes: 1}}})
			return err
		},
		"finish": func(c *client.Client, id string, epoch int) error {
			_, err := c.LeaseFinish(t.Context(), id, client.LeaseFinish{Epoch: epoch})
			return err
		},
		"release": func(c *client.Client, id string, epoch int) error {
			_, err := c.LeaseRelease(t.Context(), id, client.LeaseRelease{Epoch: epoch, Reason: "r"})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			if err := call(other, lease.ID, lease.Epoch); !client.IsStatus(err, 403) {
				t.Errorf("another agent: %v", err)
			}
			if err := call(mine, lease.ID, lease.Epoch+1); !client.IsFenced(err) {
				t.Errorf("another epoch: %v", err)
			}
			if err := call(mine, uuid.NewString(), 1); !client.IsStatus(err, 404) {
				t.Errorf("another lease: %v", err)
			}
			if err := call(n.client("admin"), lease.ID, lease.Epoch); !client.IsStatus(err, 403) {
				t.Errorf("no agent: %v", err)
			}
		})
	}
	if state := finish(t, mine, lease); state.State != client.Succeeded {
		t.Error(state)
	}
	if state := finish(t, mine, lease); state.State != client.Succeeded {
		t.Error("a repeated result must be answered like the first", state)
	}
}

func TestReleasedLeaseIsGivenAgain(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	n.run(smallOttofile)
	first := begin(t, agent)
	if _, err := agent.LeaseRelease(t.Context(), first.ID, client.LeaseRelease{Epoch: first.Epoch, Reason: "draining"}); err != nil {
		t.Fatal(err)
	}
	if second := take(t, agent); second.Task != first.Task || second.Epoch != first.Epoch+1 || second.ID == first.ID {
		t.Errorf("%+v after %+v", second, first)
	}
	beat, err := agent.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{first.ID}})
	if err != nil || len(beat.Fenced) != 1 {
		t.Error("the released lease must be fenced", beat, err)
	}
	detail, err := n.client("reader").TaskShow(t.Context(), first.Task)
	if err != nil || len(detail.Attempts) != 2 || detail.Attempts[0].EndReason != "released" {
		t.Errorf("%+v %v", detail, err)
	}
}

func TestAbortOrders(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	run := n.run(smallOttofile)
	lease := begin(t, agent)
	held := make(chan client.LeaseAnswer, 1)
	go func() {
		answer, _ := agent.LeaseTake(context.WithoutCancel(t.Context()), client.LeaseRequest{Free: 0, WaitMS: 20_000})
		held <- answer
	}()
	eventually(t, func() bool { return n.api.dispatch.waiting() == 1 })
	aborted, err := n.client("writer").RunAbort(t.Context(), client.RunNumber(run.Run), client.RunAbort{Reason: "enough"})
	if err != nil || aborted.State != client.Aborting {
		t.Fatal(aborted, err)
	}
	answer := <-held
	if len(answer.Aborts) != 1 || answer.Aborts[0].Lease != lease.ID || answer.Aborts[0].Level != "abort" || answer.Aborts[0].Reason != "enough" {
		t.Errorf("held request brought %+v", answer)
	}
	beat, err := agent.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{lease.ID}})
	if err != nil || len(beat.Aborts) != 1 || len(beat.Fenced) != 0 {
		t.Error(beat, err)
	}
	// Told once, the agent is not told again at once: its next request is held.
	again, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 0, WaitMS: 1})
	if err != nil || len(again.Aborts) != 0 {
		t.Error(again, err)
	}
	// A higher level is news.
	if _, err := n.client("writer").RunAbort(t.Context(), "latest", client.RunAbort{}); err != nil {
		t.Fatal(err)
	}
	kill, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 0, WaitMS: 20_000})
	if err != nil || len(kill.Aborts) != 1 || kill.Aborts[0].Level != "kill" {
		t.Error(kill, err)
	}
}

func TestLeaseSource(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	other, _ := n.enrol(client.AgentOffer{Name: "other"})
	data := []byte(strings.Repeat("source ", 100_000))
	if _, err := n.client("writer").SourceUpload(t.Context(), digestOf(data), strings.NewReader(string(data)), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if _, err := n.client("writer").RunCreate(t.Context(), client.RunCreate{Plan: n.plan(smallOttofile), Source: digestOf(data)}); err != nil {
		t.Fatal(err)
	}
	lease := take(t, agent)
	if lease.Source == nil || lease.Source.Digest != digestOf(data) || lease.Source.Bytes != int64(len(data)) {
		t.Errorf("%+v", lease.Source)
	}
	body, err := agent.LeaseSource(t.Context(), lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != string(data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := other.LeaseSource(t.Context(), lease.ID); !client.IsStatus(err, 403) {
		t.Error(err)
	}
	if _, err := agent.LeaseStart(t.Context(), lease.ID, client.LeaseStart{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	finish(t, agent, lease)
	if _, err := agent.LeaseSource(t.Context(), lease.ID); !client.IsFenced(err) {
		t.Error(err)
	}
	n.run(smallOttofile)
	if _, err := agent.LeaseSource(t.Context(), take(t, agent).ID); !client.IsStatus(err, 404) {
		t.Error("a run without a source", err)
	}
}

func TestHeartbeatRefusesWhatIsNoLease(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	_, err := agent.AgentHeartbeat(t.Context(), client.Heartbeat{Leases: []string{"x"}})
	var refusal *client.Error
	if !errors.As(err, &refusal) || refusal.Status != 422 || refusal.Detail != `"x" is not a lease` {
		t.Error(err)
	}
}

func TestLeaseList(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{Capacity: 3})
	n.run("stages:\n  - parallel:\n" +
		"      - {task: a, steps: [{sh: 'true'}]}\n      - {task: b, steps: [{sh: 'true'}]}\n      - {task: c, steps: [{sh: 'true'}]}\n")
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 3, WaitMS: 20_000})
	if err != nil || len(answer.Leases) != 3 {
		t.Fatal(answer, err)
	}
	users := n.client("reader")
	leases, err := client.All(func(cursor string) (client.Page[client.LeaseInfo], error) {
		return users.LeaseList(t.Context(), client.LeaseListOptions{Agent: enrolled.Agent.Agent, Limit: 2, Cursor: cursor})
	})
	if err != nil || len(leases) != 3 || leases[2].Name != "c" {
		t.Errorf("%+v %v", leases, err)
	}
	if page, err := users.LeaseList(t.Context(), client.LeaseListOptions{Agent: 999}); err != nil || len(page.Items) != 0 {
		t.Error(page, err)
	}
}
