package api

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
)

// hostile are values that something somewhere may not be prepared for.
func hostile() []any {
	deep := json.RawMessage(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))
	return []any{nil, true, -1, 0, 2147483648, int64(9223372036854775807), 1e300, "", "\u0000", "💥\u202e", strings.Repeat("x", 5000),
		"'; drop table runs; --", "../../etc/passwd", []any{}, []any{nil}, map[string]any{}, map[string]any{"\u0000": "\u0000"}, deep}
}

// good are bodies of requests that are right, but for the things they name.
func good() map[string]any {
	step := client.StepReport{State: "failed", Reason: "r", DurationMS: 1}
	return map[string]any{
		"token-create":    client.TokenCreate{Name: "n", Role: "reader", ExpiresMS: 5},
		"plan-create":     client.PlanCreate{Ottofile: smallOttofile, File: "f"},
		"plan-validate":   client.PlanCreate{Model: map[string]any{"batches": []any{}}},
		"run-create":      client.RunCreate{Project: "p", Source: digestOf(nil), Ottofile: "o", Plan: digestOf(nil), Event: &client.SourceEvent{Kind: "push", Branch: "b", Changed: []string{"a"}}, Params: map[string]any{"p": 1}},
		"run-abort":       client.RunAbort{Reason: "r"},
		"task-abort":      client.RunAbort{Reason: "r"},
		"agent-hello":     client.AgentOffer{Name: "n", Version: "1", Capacity: 1, Offers: map[string]any{"os": "linux"}, Protocol: []string{"p"}},
		"agent-heartbeat": client.Heartbeat{Leases: []string{}, Draining: true},
		"lease-take":      client.LeaseRequest{WaitMS: 1},
		"lease-start":     client.LeaseStart{Epoch: 1, Steps: []client.StepReport{step}},
		"lease-steps":     client.StepReports{Epoch: 1, Steps: []client.StepReport{step}},
		"lease-log":       client.LogChunk{Epoch: 1, Encoding: "identity", Bytes: 1, Data: []byte("x"), Segments: []client.Segment{{Kind: "stdout", Bytes: 1}}},
		"lease-release":   client.LeaseRelease{Epoch: 1, Reason: "r"},
		"lease-finish":    client.LeaseFinish{Epoch: 1, Outcome: "failed", Reason: "r", Steps: []client.StepReport{step}, Log: client.LogTotal{Bytes: 7}, Outputs: map[string]any{"a": 1}},
	}
}

// Whatever is in a request, the server has an answer that is not "something went wrong".
func TestHostileBodies(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, enrolled := n.enrol(client.AgentOffer{})
	n.tokens["agent"] = enrolled.Token
	n.run(smallOttofile)
	lease := begin(t, agent)
	for operation, body := range good() {
		row := n.api.table.byOperation[operation]
		path := strings.ReplaceAll(row.path, "{lease}", lease.ID)
		path = strings.ReplaceAll(path, "{task}", decimal(lease.Task))
		role := string(row.permission)
		encoded, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(encoded, &fields); err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			if name == "wait_ms" { // some values of it are right, and mean half a minute
				continue
			}
			for _, value := range hostile() {
				changed := maps.Clone(fields)
				changed[name] = value
				if steps, ok := changed["steps"].([]any); ok && name == "epoch" && len(steps) > 0 {
					changed["steps"] = []any{map[string]any{"index": value, "state": "failed", "exit_code": value, "reason": value, "duration_ms": value}}
					changed["epoch"] = 1
				}
				if r := n.do(role, row.method, concrete(path), changed); r.status >= 500 {
					t.Errorf("%s with %s = %.80v: %d %s", operation, name, value, r.status, r.body)
				}
			}
		}
	}
}

func TestHostileParameters(t *testing.T) {
	t.Parallel()
	n := start(t)
	values := []string{"-1", "0", "9223372036854775807", "9223372036854775808", "%00", "%ff", "..%2f..", "1e9", "''", "null", "NaN", strings.Repeat("9", 300),
		"0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "99999-99999", "-", "1-1", "2147483648-1"}
	for _, row := range documented(n.api) {
		if row.permission == permitAgent || row.method != "GET" {
			continue
		}
		op := n.api.huma.OpenAPI().Paths[row.path].Get
		for _, value := range values {
			if r := n.do("admin", "GET", strings.ReplaceAll(concrete(row.path), "987654", value), nil); r.status >= 500 {
				t.Errorf("%s in its path %q: %d %s", row.operation, value, r.status, r.body)
			}
			for _, p := range op.Parameters {
				r := reply{}
				switch p.In {
				case "query":
					r = n.do("admin", "GET", concrete(row.path)+"?"+p.Name+"="+value, nil)
				case "header":
					r = n.do("admin", "GET", concrete(row.path), nil, p.Name, value)
				}
				if r.status >= 500 {
					t.Errorf("%s with %s=%q: %d %s", row.operation, p.Name, value, r.status, r.body)
				}
			}
		}
	}
}
