package api

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/ottoci/otto/client"
)

// An administrator makes pools, says who may use them, and whose agents are in them.
func TestPools(t *testing.T) {
	t.Parallel()
	n := start(t)
	admin := n.client("admin")
	made := into[client.Pool](t, n.do("admin", "POST", "/v1/pools", client.PoolCreate{Pool: "gpu"}), 201)
	if made.Pool != "gpu" || made.Open || len(made.Projects) != 0 || made.CreatedAt.IsZero() {
		t.Errorf("%+v", made)
	}
	for _, project := range []string{"b", "a"} {
		if _, err := admin.PoolAllow(t.Context(), "gpu", project); err != nil {
			t.Fatal(err)
		}
	}
	if denied, err := admin.PoolDeny(t.Context(), "gpu", "b"); err != nil || !reflect.DeepEqual(denied.Projects, []string{"a"}) {
		t.Error(denied, err)
	}
	if open, err := admin.PoolCreate(t.Context(), client.PoolCreate{Pool: "spare", Open: true}); err != nil || !open.Open {
		t.Error(open, err)
	}
	for _, tt := range []struct {
		path         string
		body         any
		status       int
		code, detail string
	}{
		{"/v1/pools", client.PoolCreate{Pool: "gpu"}, 409, "conflict", "pool gpu exists: cannot create"},
		{"/v1/pools/spare/allow", client.PoolProject{Project: "a"}, 409, "conflict", "pool spare is open to all projects: cannot allow"},
		{"/v1/pools/none/allow", client.PoolProject{Project: "a"}, 404, "not_found", "pool none does not exist"},
		{"/v1/pools/gpu/allow", client.PoolProject{Project: "a b"}, 422, "invalid", "a project's name has letters, digits and ._/- and at most 100 characters"},
		{"/v1/pools/gpu/deny", client.PoolProject{Project: "b"}, 409, "conflict", "project b may not use pool gpu: cannot deny"},
		{"/v1/tokens", client.TokenCreate{Name: "x", Role: "enrol", Pool: "none"}, 404, "not_found", "pool none does not exist"},
		{"/v1/tokens", client.TokenCreate{Name: "x", Role: "admin", Pool: "gpu"}, 409, "conflict", "a token of role admin has no pool: only the role enrol does"},
	} {
		if p := refused(t, n.do("admin", "POST", tt.path, tt.body), tt.status, tt.code); p.Detail != tt.detail {
			t.Errorf("%s %+v: got %q, want %q", tt.path, tt.body, p.Detail, tt.detail)
		}
	}
	refused(t, n.do("admin", "POST", "/v1/pools", client.PoolCreate{Pool: "a b"}), 422, "invalid")

	token, err := admin.TokenCreate(t.Context(), client.TokenCreate{Name: "x", Role: "enrol", Pool: "gpu"})
	if err != nil || token.Pool != "gpu" {
		t.Fatal(token, err)
	}
	enrolled, err := n.with(token.Secret).AgentEnrol(t.Context(), client.AgentOffer{Name: "x", Version: "1", Capacity: 1})
	if err != nil || enrolled.Agent.Pool != "gpu" {
		t.Error(enrolled, err)
	}
	pools, err := client.All(func(cursor string) (client.Page[client.Pool], error) {
		return n.client("reader").PoolList(t.Context(), client.ListOptions{Limit: 1, Cursor: cursor})
	})
	var got []string
	for _, p := range pools {
		got = append(got, fmt.Sprintf("%s %t %v %d", p.Pool, p.Open, p.Projects, p.AgentsOnline))
	}
	if want := []string{"default true [] 0", "gpu false [a] 1", "spare true [] 0"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q: %v", got, want, err)
	}
}

// Whether an attempt got an agent that was preferred is told with its task.
func TestTaskTellsWarmth(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	run := n.run(smallOttofile)
	lease := take(t, agent)
	warm := func() [2]bool {
		one := into[client.TaskDetail](t, n.do("reader", "GET", fmt.Sprintf("/v1/tasks/%d", lease.Task), nil), 200)
		all := into[client.RunDetail](t, n.do("reader", "GET", "/v1/runs/"+client.RunNumber(run.Run), nil), 200)
		return [2]bool{one.Warm && one.Attempts[0].Warm, all.Stages[0].Tasks[0].Warm}
	}
	if got := warm(); got != [2]bool{} {
		t.Errorf("the first agent is warm: %v", got)
	}
	mustExec(t, n, "update leases set warm = true where id = $1", lease.ID)
	if got := warm(); got != [2]bool{true, true} {
		t.Errorf("got %v, want both", got)
	}
}
