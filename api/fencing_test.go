package api

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
)

// fencing is what each call of an agent is answered in each situation in which it may not, or need not, change anything. It is the
// table of docs/agents.md, word for word.
var fencing = []fencingRow{
	{"agent-hello", "", "", "", "", "", "", "200, again 200"},
	{"agent-offer", "", "", "", "", "", "", "200, again 200"},
	{"agent-heartbeat", "200 fenced", "200", "200 fenced", "200 fenced", "200 fenced", "200 abort", "200, again 200"},
	{"agent-bye", "", "", "", "", "", "", "204, again 204"},
	{"lease-take", "", "", "", "", "", "", "200, again 200"},
	{"lease-report", "200 fenced", "200 fenced", "200 forbidden", "200 taken, fenced, taken", "200 fenced", "200 taken", "200 taken, again 200 taken"},
	{"lease-start", "409 fenced", "409 fenced", "403 forbidden", "409 fenced", "409 fenced", "200", "200, again 200"},
	{"lease-steps", "409 fenced", "409 fenced", "403 forbidden", "409 fenced", "409 fenced", "200", "200, again 200"},
	{"lease-log", "409 fenced", "409 fenced", "403 forbidden", "409 fenced", "409 fenced", "200", "200, again 200"},
	{"lease-log-frames", "409 fenced", "409 fenced", "403 forbidden", "409 fenced", "409 fenced", "200", "200, again 200"},
	{"lease-finish", "409 fenced", "409 fenced", "403 forbidden", "200", "409 fenced", "200", "200, again 200"},
	{"lease-release", "200", "409 fenced", "403 forbidden", "409 fenced", "409 fenced", "200", "200, again 200"},
	{"lease-source", "409 fenced", "", "403 forbidden", "409 fenced", "409 fenced", "200", "200, again 200"},
}

type fencingRow struct {
	operation                                                   string
	lease, epoch, stranger, finished, aborted, aborting, replay string // empty: it names no lease, or no attempt
}

// situations are what an agent may be wrong about. Each gives the credential, the lease and the attempt that the call is made with.
var situations = []situation{
	{"an attempt that is over, as another has the task", func(r fencingRow) string { return r.lease }, func(f *fenced) (string, client.Lease) {
		old := f.begin()
		f.call(f.mine, "lease-release", old)
		f.again(old)
		return f.mine, old
	}},
	{"the attempt before, with the lease of this one", func(r fencingRow) string { return r.epoch }, func(f *fenced) (string, client.Lease) {
		old := f.begin()
		f.call(f.mine, "lease-release", old)
		now := f.again(old)
		now.Epoch--
		return f.mine, now
	}},
	{"the lease of another agent", func(r fencingRow) string { return r.stranger }, func(f *fenced) (string, client.Lease) { return f.theirs, f.begin() }},
	{"a task that has ended", func(r fencingRow) string { return r.finished }, func(f *fenced) (string, client.Lease) {
		lease := f.begin()
		f.call(f.mine, "lease-finish", lease)
		return f.mine, lease
	}},
	{"a run that was aborted before the task began", func(r fencingRow) string { return r.aborted }, func(f *fenced) (string, client.Lease) {
		lease := f.take()
		f.abort(lease)
		return f.mine, lease
	}},
	{beingAborted, func(r fencingRow) string { return r.aborting }, func(f *fenced) (string, client.Lease) {
		lease := f.begin()
		f.abort(lease)
		return f.mine, lease
	}},
}

type situation struct {
	name    string
	of      func(fencingRow) string
	arrange func(*fenced) (who string, lease client.Lease)
}

// beingAborted is the one situation in which the lease is the agent's.
const beingAborted = "a run that is being aborted"

// Every call of an agent is answered as documented, and what is refused changes nothing. A route for agents that has no row in the
// table fails the test.
func TestFencing(t *testing.T) {
	t.Parallel()
	rows := map[string]fencingRow{}
	for _, row := range fencing {
		rows[row.operation] = row
	}
	for _, r := range routes() {
		if r.permission != permitAgent {
			continue
		}
		row, ok := rows[r.operation]
		if !ok {
			t.Errorf("%s has no row in the table of fencing", r.operation)
			continue
		}
		delete(rows, r.operation)
		t.Run(r.operation, func(t *testing.T) {
			t.Parallel()
			f := newFenced(t)
			f.credentials(t, r)
			for _, s := range situations {
				if want := s.of(row); want != "" {
					f.attack(t, r.operation, want, s)
				}
			}
			f.replay(t, r.operation, row.replay)
		})
	}
	for operation := range rows {
		t.Errorf("%s is in the table of fencing, and no route of agents", operation)
	}
}

// fenced is a node with two agents that have work.
type fenced struct {
	*node
	t            *testing.T
	mine, theirs string // credentials
	chunks       int    // of the log, as the agent says when an attempt ends
}

func newFenced(t *testing.T) *fenced {
	n := start(t)
	f := &fenced{node: n, t: t, mine: "mine", theirs: "theirs"}
	for _, name := range []string{f.mine, f.theirs} {
		_, enrolled := n.enrol(client.AgentOffer{Name: name, Capacity: 1000})
		n.tokens[name] = enrolled.Token
	}
	for _, role := range []string{"admin", "writer", "reader", "enrol"} {
		n.token(role) // an event, which must not come while nothing may change
	}
	return f
}

// take gives the agent of ours a lease of a run of its own.
func (f *fenced) take() client.Lease {
	f.t.Helper()
	source := []byte("a source")
	if r := f.do("writer", "PUT", "/v1/sources/"+digestOf(source), source); r.status > 201 {
		f.t.Fatalf("%d %s", r.status, r.body)
	}
	into[client.Run](f.t, f.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: f.plan(smallOttofile), Source: digestOf(source)}), 201)
	return f.next()
}

// next is the next lease that the agent is given; orders may come before it, again and again.
func (f *fenced) next() client.Lease {
	f.t.Helper()
	for {
		answer, err := f.client(f.mine).LeaseTake(f.t.Context(), client.LeaseRequest{Free: 1, WaitMS: 20_000})
		if err != nil || len(answer.Leases) > 1 {
			f.t.Fatalf("got %+v, %v; want one lease", answer, err)
		}
		if len(answer.Leases) == 1 {
			return answer.Leases[0]
		}
	}
}

func (f *fenced) begin() client.Lease {
	f.t.Helper()
	lease := f.take()
	if got := f.call(f.mine, "lease-start", lease); got != "200" {
		f.t.Fatal(got)
	}
	return lease
}

// again gives the agent the task of a lease once more.
func (f *fenced) again(old client.Lease) client.Lease {
	f.t.Helper()
	lease := f.next()
	if lease.Task != old.Task {
		f.t.Fatalf("task %d, want %d", lease.Task, old.Task)
	}
	if got := f.call(f.mine, "lease-start", lease); got != "200" {
		f.t.Fatal(got)
	}
	return lease
}

func (f *fenced) abort(lease client.Lease) {
	f.t.Helper()
	into[client.Run](f.t, f.do("writer", "POST", "/v1/runs/"+decimal(lease.Run)+"/abort", nil), 200)
}

// call makes the call, and says in short what it was answered.
func (f *fenced) call(who, operation string, lease client.Lease) string {
	f.t.Helper()
	row := f.api.table.byOperation[operation]
	header := []string{}
	body, kind := f.body(operation, lease)
	if kind != "" {
		header = append(header, "Content-Type", kind)
	}
	got := f.do(who, row.method, strings.Replace(row.path, "{lease}", lease.ID, 1), body, header...)
	said := fmt.Sprint(got.status)
	var refusal client.Error
	if got.status >= 400 && json.Unmarshal(got.body, &refusal) == nil {
		return said + " " + refusal.Code
	}
	switch operation {
	case "agent-heartbeat":
		return strings.TrimSpace(said + " " + ofBeat(f.t, got, lease))
	case "lease-report":
		return said + " " + ofReports(f.t, got)
	}
	return said
}

// body is a request as an agent sends it that wants to change as much as it can.
func (f *fenced) body(operation string, lease client.Lease) (body any, kind string) {
	zero := 0
	steps := []client.StepReport{{State: client.Succeeded, ExitCode: &zero}}
	total := client.LogTotal{Chunks: f.chunks, Bytes: int64(2 * f.chunks)}
	chunk := client.LogChunk{Epoch: lease.Epoch, Encoding: "identity", Bytes: 2, Data: []byte("x\n"), Segments: []client.Segment{{Kind: client.SegmentStdout, Bytes: 2}}}
	begun := client.LeaseStart{Epoch: lease.Epoch, Steps: []client.StepReport{{State: client.Running}}}
	result := client.LeaseFinish{Epoch: lease.Epoch, ExitCode: &zero, Steps: steps, Log: total}
	switch operation {
	case "agent-hello", "agent-offer":
		return client.AgentOffer{Name: f.mine, Version: "1", Capacity: 1000}, ""
	case "agent-heartbeat":
		return client.Heartbeat{Leases: []string{lease.ID}}, ""
	case "lease-take":
		return client.LeaseRequest{WaitMS: 1}, ""
	case "lease-report":
		return client.LeaseReports{
			Starts: []client.LeaseStarted{{Lease: lease.ID, LeaseStart: begun}}, Logs: []client.LeaseLogged{{Lease: lease.ID, LogChunk: chunk}},
			Finishes: []client.LeaseFinished{{Lease: lease.ID, LeaseFinish: result}},
		}, ""
	case "lease-start":
		return begun, ""
	case "lease-steps":
		return client.StepReports{Epoch: lease.Epoch, Steps: steps}, ""
	case "lease-log":
		return chunk, ""
	case "lease-log-frames":
		frame, err := chunk.Frame()
		if err != nil {
			f.t.Fatal(err)
		}
		return frame, client.TypeLogFrames
	case "lease-finish":
		return result, ""
	case "lease-release":
		return client.LeaseRelease{Epoch: lease.Epoch, Reason: "draining", Log: total}, ""
	case "agent-bye", "lease-source":
		return nil, ""
	}
	f.t.Fatalf("nobody knows what %s sends", operation)
	return nil, ""
}

// ofBeat says what a heartbeat brought back for the lease.
func ofBeat(t *testing.T, r reply, lease client.Lease) string {
	answer := into[client.HeartbeatAnswer](t, r, 200)
	switch {
	case len(answer.Fenced) == 1 && answer.Fenced[0] == lease.ID:
		return "fenced"
	case len(answer.Aborts) == 1 && answer.Aborts[0].Lease == lease.ID:
		return "abort"
	case len(answer.Fenced)+len(answer.Aborts) > 0:
		return fmt.Sprintf("%+v", answer)
	}
	return ""
}

// ofReports says what each of several reports at once was answered; once if all were answered the same.
func ofReports(t *testing.T, r reply) string {
	answer := into[client.LeaseReportsAnswer](t, r, 200)
	var said []string
	note := func(problem *client.Error) {
		word := "taken"
		if problem != nil {
			word = problem.Code
		}
		if len(said) == 0 || said[len(said)-1] != word {
			said = append(said, word)
		}
	}
	note(answer.Starts[0].Problem)
	note(answer.Logs[0].Problem)
	note(answer.Finishes[0].Problem)
	return strings.Join(said, ", ")
}

// attack makes a call in a situation. Unless the lease is the agent's, it has changed nothing, whatever it was answered.
func (f *fenced) attack(t *testing.T, operation, want string, s situation) {
	who, lease := s.arrange(f)
	before := f.state()
	if got := f.call(who, operation, lease); got != want {
		t.Errorf("%s: %s, want %s", s.name, got, want)
	}
	if after := f.state(); s.name != beingAborted && after != before {
		t.Errorf("%s: nothing may change, and yet\n%s\nbecame\n%s", s.name, before, after)
	}
}

// replay makes a call twice.
func (f *fenced) replay(t *testing.T, operation, want string) {
	f.chunks = 1
	lease := f.begin()
	first := f.call(f.mine, operation, lease)
	before := f.state()
	second := f.call(f.mine, operation, lease)
	if got := first + ", again " + second; got != want {
		t.Errorf("repeated: %s, want %s", got, want)
	}
	if after := f.state(); operation != "agent-hello" && after != before {
		t.Errorf("repeated: \n%s\nbecame\n%s", before, after)
	}
}

// credentials calls without one, with one that is none, and with those of people and of enrolments.
func (f *fenced) credentials(t *testing.T, r route) {
	lease := f.begin()
	before := f.state()
	f.tokens["nobody"], f.tokens["broken"] = "otto_agent_unknown", f.tokens[f.mine]+"x"
	for who, want := range map[string]string{
		"": "401 unauthorized", "nobody": "401 unauthorized", "broken": "401 unauthorized", "admin": "403 forbidden", "writer": "403 forbidden", "reader": "403 forbidden", "enrol": "403 forbidden",
	} {
		if got := f.call(who, r.operation, lease); got != want {
			t.Errorf("credential %q: %s, want %s", who, got, want)
		}
	}
	if after := f.state(); after != before {
		t.Errorf("a credential was refused, and yet\n%s\nbecame\n%s", before, after)
	}
	// Who an agent is comes from its credential: a body that says otherwise is refused as a whole.
	body, kind := f.body(r.operation, lease)
	if object, ok := asObject(body); ok && kind == "" {
		object["agent_id"] = 1
		got := f.do(f.theirs, r.method, strings.Replace(r.path, "{lease}", lease.ID, 1), object)
		if got.status != 422 || f.state() != before {
			t.Errorf("a forged agent_id: %d %s", got.status, got.body)
		}
	}
}

func asObject(body any) (object map[string]any, ok bool) {
	raw, err := json.Marshal(body)
	return object, err == nil && json.Unmarshal(raw, &object) == nil && object != nil
}

// state is all that calls of agents could change for work: a digest of each table, but for the times of heartbeats.
func (f *fenced) state() string {
	f.t.Helper()
	var out string
	err := f.db.Owner.QueryRow(f.t.Context(), `select string_agg(n || ' ' || h, E'\n' order by n) from (
		select 'runs' n, md5(string_agg(r::text, '|' order by r.id)) h from runs r union all
		select 'stages', md5(string_agg(s::text, '|' order by s.id)) from stages s union all
		select 'tasks', md5(string_agg(t::text, '|' order by t.id)) from tasks t union all
		select 'leases', md5(string_agg((to_jsonb(l) - 'expires_at')::text, '|' order by l.id)) from leases l union all
		select 'steps', md5(string_agg(s::text, '|' order by s.task_id, s.epoch, s.index)) from steps s union all
		select 'chunks', md5(string_agg(c.lease_id || ' ' || c.seq, '|' order by c.lease_id, c.seq)) from log_chunks c union all
		select 'outputs', md5(string_agg(o::text, '|' order by o.task_id)) from task_outputs o union all
		select 'events', count(*)::text from events) x`).Scan(&out)
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// The table of the documents is this one.
func TestFencingIsDocumented(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("| call |")
	for _, s := range situations {
		b.WriteString(" " + s.name + " |")
	}
	b.WriteString(" said twice |\n|---|" + strings.Repeat("---|", len(situations)+1) + "\n")
	for _, row := range fencing {
		b.WriteString("| `" + row.operation + "` |")
		for _, s := range situations {
			b.WriteString(" " + s.of(row) + " |")
		}
		b.WriteString(" " + row.replay + " |\n")
	}
	page, err := os.ReadFile("../docs/agents.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), b.String()) {
		t.Errorf("docs/agents.md lacks\n%s", b.String())
	}
}
