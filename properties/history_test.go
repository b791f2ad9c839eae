package properties

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/ottoci/otto/db"
)

// history is what became of a run: its rows, and at which event everything happened.
type history struct {
	*started
	run    db.Run
	stages []db.Stage
	tasks  map[string]*fate
	legs   []leg
	ends   []int64 // of the stages
}

// fate is what became of a task.
type fate struct {
	leg
	db.Task
	stage  int
	index  int
	steps  []string           // states of the last attempt's steps
	kept   map[string]any     // its outputs
	at     map[string][]int64 // events by kind, without "task."
	begins int64              // the first event that is about it
	ends   int64
	// The transactions in which it became ready for the first time, and ended.
	readyTx, endTx int64
	done           []attempt
}

const never = int64(math.MaxInt64)

// happened reads the history of a run.
func (c *crew) happened(r *started) *history {
	h := &history{started: r, tasks: map[string]*fate{}, run: must[db.RunByIDRow](c)(c.q.RunByID(c.ctx, r.id)).Run}
	h.stages = must[[]db.Stage](c)(c.q.StagesOfRun(c.ctx, r.id))
	byID := map[int64]*fate{}
	rows := must[[]db.TasksOfRunRow](c)(c.q.TasksOfRun(c.ctx, r.id))
	if len(h.stages) == 0 {
		return h
	}
	for i, s := range r.ottofile.stages {
		h.ends = append(h.ends, never)
		for j, l := range s.legs() {
			f := &fate{leg: l, Task: rows[0].Task, stage: i, index: j, kept: map[string]any{}, at: map[string][]int64{}, begins: never, ends: never, done: r.attempts[rows[0].Task.ID]}
			rows = rows[1:]
			h.tasks[l.name], byID[f.ID] = f, f
			h.legs = append(h.legs, l)
		}
	}
	for _, s := range must[[]db.Step](c)(c.q.StepsOfRun(c.ctx, r.id)) {
		if f := byID[s.TaskID]; s.Epoch == f.Epoch {
			f.steps = append(f.steps, s.State)
		}
	}
	for _, o := range must[[]db.OutputsOfRunRow](c)(c.q.OutputsOfRun(c.ctx, db.OutputsOfRunParams{Run: r.id, AtMost: 1 << 20})) {
		if err := json.Unmarshal(o.Outputs, &byID[o.TaskID].kept); err != nil {
			c.Fatal(err)
		}
	}
	for _, e := range must[[]db.EventsAfterRow](c)(c.q.EventsAfter(c.ctx, db.EventsAfterParams{Run: &r.id, AtMost: 1 << 20})) {
		h.event(e, byID)
	}
	return h
}

func (h *history) event(e db.EventsAfterRow, byID map[int64]*fate) {
	entity, what, _ := strings.Cut(e.Kind, ".")
	switch {
	case entity == "task":
		f := byID[e.Task]
		f.at[what], f.begins = append(f.at[what], e.ID), min(f.begins, e.ID)
		if what == "ready" && f.readyTx == 0 {
			f.readyTx = e.Tx
		}
		if slices.Contains(severities, what) {
			f.ends, f.endTx = e.ID, e.Tx
		}
	case entity == "stage" && slices.Contains(severities, what):
		h.ends[slices.IndexFunc(h.stages, func(s db.Stage) bool { return s.Name == e.Stage })] = e.ID
	}
}

// first is the number of the first event of a kind, or never.
func (f *fate) first(kind string) int64 {
	if len(f.at[kind]) == 0 {
		return never
	}
	return f.at[kind][0]
}

func (f *fate) reason() string {
	if f.Reason == nil {
		return ""
	}
	return *f.Reason
}

// ordered says whether the task was told to stop, or was stopped before it began.
func (f *fate) ordered() bool {
	return f.State == "aborted" && (len(f.at["aborting"]) > 0 || len(f.done) == 0 || f.done[len(f.done)-1].epoch != int(f.Epoch))
}

// forgiven says whether a bad end counts as succeeded.
func (f *fate) forgiven() bool {
	return f.allowFailure && severity(f.State) >= severity("unstable") && !f.ordered()
}

// effective is the severity of how the task ended, for those above and after it.
func (f *fate) effective() int {
	if f.forgiven() {
		return severity("succeeded")
	}
	return severity(f.State)
}

// outputsBefore are the outputs of tasks that were over at an event, of their last attempt.
func (h *history) outputsBefore(at int64) map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, f := range h.tasks {
		if n := len(f.done); f.ends < at && n > 0 {
			out[name] = f.done[n-1].outputs
		}
	}
	return out
}

// statusBefore is the worst outcome of the stages that were over at an event.
func (h *history) statusBefore(at int64) string {
	worst := severity("succeeded")
	for i, s := range h.stages {
		if h.ends[i] < at {
			worst = max(worst, severity(s.State))
		}
	}
	return severities[worst]
}

// asJSONText is the outputs of a task as the database keeps them.
func asJSONText(outputs map[string]any) string {
	body, err := json.Marshal(outputs)
	if err != nil {
		return err.Error()
	}
	return string(body)
}
