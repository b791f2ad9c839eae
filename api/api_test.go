package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/store"
)

// node is one API node on a database of its own.
type node struct {
	t      *testing.T
	api    *API
	db     *dbtest.Database
	store  *store.Store
	server *httptest.Server
	tokens map[string]string // by role
}

// start runs a node. Changes adjust its settings.
func start(t *testing.T, changes ...func(*Config)) *node {
	t.Helper()
	return startOn(t, dbtest.Open(t), newStore(t), changes...)
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	objects, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = objects.Close() })
	return objects
}

// startOn runs a node on a database and a store that others may use, too.
func startOn(t *testing.T, database *dbtest.Database, objects *store.Store, changes ...func(*Config)) *node {
	t.Helper()
	cfg := Config{
		Pool: database.App, DatabaseURL: database.URL, Store: objects, Name: "node-" + t.Name(), Version: "test", Limits: Limits{Rate: -1},
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	for _, change := range changes {
		change(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, api: a, db: database, store: objects, tokens: map[string]string{}}
	a.Start(context.WithoutCancel(t.Context()))
	n.server = httptest.NewUnstartedServer(a.Handler())
	n.server.Config = Server(a.Handler())
	n.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	n.server.Start()
	t.Cleanup(func() {
		a.Stop()
		n.server.Close()
	})
	return n
}

// token is a token of a role, made once.
func (n *node) token(role string) string {
	n.t.Helper()
	if n.tokens[role] == "" {
		n.tokens[role] = n.newToken(role)
	}
	return n.tokens[role]
}

func (n *node) newToken(role string) string {
	n.t.Helper()
	kind := kindUser
	if strings.HasPrefix(role, "enrol") {
		kind = kindEnrol
	}
	secret, hash := NewToken(kind)
	_, err := db.New(n.db.App).TokenCreate(n.t.Context(), db.TokenCreateParams{Hash: hash, Kind: kind, Role: role, Name: role, Actor: "test"})
	if err != nil {
		n.t.Fatal(err)
	}
	return secret
}

// client calls the node with a token of a role; empty is without one.
func (n *node) client(role string) *client.Client {
	n.t.Helper()
	token := ""
	if role != "" {
		token = n.token(role)
	}
	return n.with(token)
}

func (n *node) with(token string) *client.Client {
	n.t.Helper()
	c, err := client.New(client.Config{URL: n.server.URL, Token: token, HTTPClient: n.server.Client()})
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// enrol makes an agent.
func (n *node) enrol(offer client.AgentOffer) (*client.Client, client.AgentEnrolled) {
	n.t.Helper()
	if offer.Name == "" {
		offer.Name = "ant"
	}
	offer.Capacity = max(offer.Capacity, 1)
	enrolled, err := n.with(n.newToken("enrol")).AgentEnrol(n.t.Context(), offer)
	if err != nil {
		n.t.Fatal(err)
	}
	return n.with(enrolled.Token), enrolled
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request with a body of JSON, or of bytes.
func (n *node) do(role, method, path string, body any, header ...string) reply {
	n.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	case string:
		reader = bytes.NewReader([]byte(b))
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			n.t.Fatal(err)
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(n.t.Context(), method, n.server.URL+path, reader)
	if err != nil {
		n.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		req.Header.Set("Authorization", "Bearer "+n.token(role))
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := n.server.Client().Do(req)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		n.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, got}
}

// into decodes an answer.
func into[T any](t *testing.T, r reply, status int) T {
	t.Helper()
	if r.status != status {
		t.Fatalf("status %d, want %d: %s", r.status, status, r.body)
	}
	var v T
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

// refused checks a refusal, and gives it.
func refused(t *testing.T, r reply, status int, code string) client.Error {
	t.Helper()
	p := into[client.Error](t, r, status)
	if p.Code != code || p.Status != status || r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got code %q in %s, want %q: %s", p.Code, r.header.Get("Content-Type"), code, r.body)
	}
	return p
}

const smallOttofile = "name: demo\nstages:\n  - stage: build\n    steps:\n      - sh: echo hello\n"

// plan stores a plan and gives its digest.
func (n *node) plan(ottofile string) string {
	n.t.Helper()
	return into[client.PlanAnswer](n.t, n.do("writer", "POST", "/v1/plans", client.PlanCreate{Ottofile: ottofile}), 201).Digest
}

// run starts a run of an Ottofile.
func (n *node) run(ottofile string) client.Run {
	n.t.Helper()
	return into[client.Run](n.t, n.do("writer", "POST", "/v1/runs", client.RunCreate{Plan: n.plan(ottofile)}), 201)
}

func TestRunFromPlanToEnd(t *testing.T) {
	t.Parallel()
	n := start(t)
	agent, _ := n.enrol(client.AgentOffer{})
	run := n.run(smallOttofile)
	answer, err := agent.LeaseTake(t.Context(), client.LeaseRequest{Free: 1})
	if err != nil || len(answer.Leases) != 1 {
		t.Fatal(answer, err)
	}
	lease := answer.Leases[0]
	if _, err := agent.LeaseStart(t.Context(), lease.ID, client.LeaseStart{Epoch: lease.Epoch}); err != nil {
		t.Fatal(err)
	}
	zero := 0
	raw := []byte("hello\n")
	ack, err := agent.LeaseLog(t.Context(), lease.ID, client.LogChunk{
		Epoch: lease.Epoch, Encoding: "identity", Bytes: len(raw), Data: raw,
		Segments: []client.Segment{{Kind: client.SegmentBegin}, {Kind: client.SegmentStdout, Bytes: len(raw)}, {Kind: client.SegmentEnd, State: "succeeded", ExitCode: &zero}},
	})
	if err != nil || ack.Next != 1 {
		t.Fatal(ack, err)
	}
	state, err := agent.LeaseFinish(t.Context(), lease.ID, client.LeaseFinish{
		Epoch: lease.Epoch, Steps: []client.StepReport{{Index: 0, State: "succeeded", ExitCode: &zero}},
		Log: client.LogTotal{Chunks: 1, Bytes: int64(len(raw))},
	})
	if err != nil || state.State != client.Succeeded {
		t.Fatal(state, err)
	}
	detail := into[client.RunDetail](t, n.do("reader", "GET", "/v1/runs/latest", nil), 200)
	if detail.State != client.Succeeded || detail.Run.Run != run.Run || detail.Stages[0].Tasks[0].Steps[0].State != client.Succeeded {
		t.Errorf("%+v", detail)
	}
	if got := n.do("reader", "GET", "/v1/tasks/"+decimal(lease.Task)+"/log", nil); string(got.body) != "hello\n" {
		t.Errorf("%d %q", got.status, got.body)
	}
}
