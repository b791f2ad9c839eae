package properties

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/jobs"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/store"
)

// engine is the real one: Postgres with the transitions, and the workers. What it lacks is an agent: that is here, and its steps
// do nothing.
type engine struct {
	db      *dbtest.Database
	q       *db.Queries
	agent   int64
	batches int // so far
}

func newEngine(t *testing.T) *engine {
	t.Helper()
	d := dbtest.Open(t)
	e := &engine{db: d, q: db.New(d.App)}
	ctx := context.WithoutCancel(t.Context())
	must[db.Cluster](t)(e.q.ServerBeat(ctx, "api"))
	hash := func() []byte { a, b := uuid.New(), uuid.New(); return append(a[:], b[:]...) }
	token := must[db.Token](t)(e.q.TokenCreate(ctx, db.TokenCreateParams{Hash: hash(), Kind: "enrol", Role: "enrol", Name: "e", Actor: "test"}))
	e.agent = must[db.Agent](t)(e.q.AgentEnrol(ctx, db.AgentEnrolParams{Enrol: token.ID, Hash: hash(), Name: "agent", Capacity: 1000, Offers: json.RawMessage(`{"otto.protocol": ["task-2", "task-3", "isolation"], "isolation": 4}`), Actor: "test"})).ID

	objects := must[*store.Store](t)(store.Open(ctx, t.TempDir()))
	never := 24 * time.Hour // the reconciler would put right what must not go wrong
	workers := must[*jobs.Client](t)(jobs.Start(ctx, jobs.Config{Pool: d.App, Store: objects, Logger: slog.New(slog.DiscardHandler),
		Reap: never, Reconcile: never, Compact: never, Prune: never}))
	t.Cleanup(func() {
		if err := workers.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

type fataler interface {
	Helper()
	Fatal(args ...any)
}

func must[T any](t fataler) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// started is a run of a generated file.
type started struct {
	*ottofile
	text     string
	plan     *pipeline.Plan
	project  string
	id       int64
	attempts map[int64][]attempt // by task
}

// start stores the plan of a run, and asks for it.
func (e *engine) start(t fataler, r *started) {
	t.Helper()
	body, digest, err := r.plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	must[db.Plan](t)(e.q.PlanStore(ctx, db.PlanStoreParams{Digest: digest, Body: body}))
	r.id = must[db.Run](t)(e.q.RunCreate(ctx, db.RunCreateParams{Project: r.project, Plan: &digest, Actor: "test"})).ID
	r.attempts = map[int64][]attempt{}
}

// held is a lease that the agent works on.
type held struct {
	db.TaskGrantRow
	order string // the reason of an order to stop
}

// crew works off a batch of runs, in an order that its seed decides as far as the workers let it.
type crew struct {
	*engine
	fataler
	rand  *rand.Rand
	runs  map[int64]*started
	ctx   context.Context //nolint:containedctx // of one batch
	held  []held
	quiet time.Time // since when nothing has happened
}

// patience is how long nothing may happen before a run counts as stuck. The slowest that is asked for is a job.
const patience = 10 * time.Second

// work starts the runs one after the other, works on all at once, and returns when they are final.
func (c *crew) work(waiting []*started) {
	c.Helper()
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	c.quiet = time.Now()
	for {
		if len(waiting) > 0 && (len(c.held) == 0 || c.rand.IntN(3) == 0) {
			c.start(c, waiting[0])
			c.runs[waiting[0].id] = waiting[0]
			waiting = waiting[1:]
		}
		moved := c.take()
		c.hear()
		moved = c.report() || moved
		switch {
		case moved:
			c.quiet = time.Now()
			continue
		case len(c.held) == 0 && len(waiting) == 0 && c.over():
			return
		case time.Since(c.quiet) > patience:
			c.Fatal(c.stuck())
		}
		<-tick.C
	}
}

// take leases some tasks, and starts those that were not aborted meanwhile.
func (c *crew) take() bool {
	granted := must[[]db.TaskGrantRow](c)(c.q.TaskGrant(c.ctx, db.TaskGrantParams{Slots: slices.Repeat([]int64{c.agent}, 1+c.rand.IntN(16)), Actor: "test"}))
	if len(granted) == 0 {
		return false
	}
	starts := make([]any, 0, len(granted))
	for _, l := range granted {
		starts = append(starts, map[string]any{"lease": l.ID, "epoch": l.Epoch, "agent": c.agent, "steps": []any{}, "actor": "agent"})
	}
	begun := c.tell(db.ReportsTakeParams{Starts: must[json.RawMessage](c)(json.Marshal(starts))})
	for _, l := range granted {
		if !begun[l.ID] {
			_, err := c.q.TaskStart(c.ctx, db.TaskStartParams{Lease: l.ID, Epoch: l.Epoch, Agent: c.agent, Steps: json.RawMessage(`[]`), Actor: "agent"})
			if _, refused := db.AsRefusal(err); refused {
				continue
			}
			must[any](c)(nil, err)
		}
		c.held = append(c.held, held{TaskGrantRow: l})
	}
	return true
}

// tell makes reports together, and gives the leases of those that were taken: what somebody else has locked is left out.
func (c *crew) tell(p db.ReportsTakeParams) map[uuid.UUID]bool {
	for _, list := range []*json.RawMessage{&p.Starts, &p.Logs, &p.Finishes} {
		if *list == nil {
			*list = json.RawMessage(`[]`)
		}
	}
	taken := map[uuid.UUID]bool{}
	for _, row := range must[[]db.ReportsTakeRow](c)(c.q.ReportsTake(c.ctx, p)) {
		taken[row.Lease] = true
	}
	return taken
}

// hear learns what is to be stopped.
func (c *crew) hear() {
	if len(c.held) == 0 || c.rand.IntN(4) == 0 {
		return
	}
	ids := make([]uuid.UUID, 0, len(c.held))
	for _, h := range c.held {
		ids = append(ids, h.ID)
	}
	orders := map[uuid.UUID]string{}
	for _, l := range must[[]db.Lease](c)(c.q.LeaseRenew(c.ctx, db.LeaseRenewParams{Agent: c.agent, Held: ids})) {
		if l.AbortAt != nil {
			orders[l.ID] = *l.AbortReason
		}
	}
	for i := range c.held {
		c.held[i].order = orders[c.held[i].ID]
	}
}

// report ends some of the tasks that are held, in any order.
func (c *crew) report() bool {
	if len(c.held) == 0 {
		return false
	}
	c.rand.Shuffle(len(c.held), func(i, j int) { c.held[i], c.held[j] = c.held[j], c.held[i] })
	n := 1 + c.rand.IntN(len(c.held))
	var reports []json.RawMessage
	done := map[uuid.UUID]attempt{}
	for _, h := range c.held[:n] {
		a := c.perform(h)
		done[h.ID] = a
		reports = append(reports, c.finish(h, a))
	}
	taken := c.tell(db.ReportsTakeParams{Finishes: must[json.RawMessage](c)(json.Marshal(reports))})
	c.held = slices.DeleteFunc(c.held, func(h held) bool {
		if taken[h.ID] {
			r := c.runs[h.RunID]
			r.attempts[h.TaskID] = append(r.attempts[h.TaskID], done[h.ID])
		}
		return taken[h.ID]
	})
	return true
}

// perform plays the steps as they were handed out, with what was decided late put in.
func (c *crew) perform(h held) attempt {
	var spec pipeline.Task
	decided := map[string]any{}
	if err := json.Unmarshal(h.Spec, &spec); err != nil {
		c.Fatal(err)
	}
	if len(h.Decided) > 0 {
		if err := json.Unmarshal(h.Decided, &decided); err != nil {
			c.Fatal(err)
		}
	}
	steps := make([]scripted, 0, len(spec.Steps))
	for i, s := range spec.Steps {
		omitted := s.Omitted != "" || decided[fmt.Sprintf("/steps/%d/when", i)] == false
		steps = append(steps, scripted{lines: strings.Split(s.Sh, "\n"), omitted: omitted, always: s.Always, allowFailure: s.AllowFailure, exits: s.ExitCodes})
	}
	cut := -1
	if h.order != "" {
		cut = c.rand.IntN(len(steps))
		for cut < len(steps) && steps[cut].omitted {
			cut++
		}
	}
	a := play(steps, int(h.Epoch), cut)
	a.late, _ = decided["/env/LATE"].(string)
	if a.ordered = h.order; a.ordered != "" {
		a.outcome = severities[max(severity(a.outcome), severity("aborted"))]
	}
	return a
}

// finish is the report of an attempt that is over.
func (c *crew) finish(h held, a attempt) json.RawMessage {
	type step struct {
		Index    int    `json:"index"`
		State    string `json:"state"`
		ExitCode *int   `json:"exit_code,omitempty"`
	}
	steps := make([]step, 0, len(a.states))
	for i, state := range a.states {
		s := step{Index: i, State: state}
		if state != "skipped" {
			s.ExitCode = &a.codes[i]
		}
		steps = append(steps, s)
	}
	report := map[string]any{"lease": h.ID, "epoch": h.Epoch, "agent": c.agent, "steps": steps, "actor": "agent", "outputs": a.outputs,
		"log": map[string]any{"chunks": 0, "bytes": 0, "sha256": ""}}
	if a.code >= 0 {
		report["exit_code"] = a.code
	}
	if a.ordered != "" {
		report["outcome"], report["reason"] = "aborted", a.ordered
	}
	return must[json.RawMessage](c)(json.Marshal(report))
}

// over tells whether all runs are final.
func (c *crew) over() bool {
	var left int
	row := c.db.Owner.QueryRow(c.ctx, "select count(*) from runs where id = any($1) and finished_at is null", c.ids())
	if err := row.Scan(&left); err != nil {
		c.Fatal(err)
	}
	return left == 0
}

func (c *crew) ids() (out []int64) {
	for id := range c.runs {
		out = append(out, id)
	}
	return out
}

// stuck says what does not move.
func (c *crew) stuck() string {
	var text string
	row := c.db.Owner.QueryRow(c.ctx, `select coalesce(string_agg(format('run %s stage %s task %s is %s (%s), needs %s', t.run_id, t.stage_index, t.name, t.state, t.reason, t.needs_left), E'\n'
		order by t.run_id, t.id), 'no task') from tasks t join runs r on r.id = t.run_id where r.id = any($1) and r.finished_at is null and t.finished_at is null`, c.ids())
	if err := row.Scan(&text); err != nil {
		c.Fatal(err)
	}
	return "runs do not end:\n" + text
}
