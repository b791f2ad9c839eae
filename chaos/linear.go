package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"
)

// attempt is the model of one task's leases, for porcupine: who may write, and what became of each attempt.
type attempt struct {
	epoch int
	open  bool   // the attempt of this epoch holds the task
	began bool   // and was started
	ended string // how the attempts so far ended, a letter for each: f finished, r released, t taken away
}

// step says whether the operation could have had its result in this state, and what state follows. A result that
// nobody knows may have happened or not; porcupine is free to place it where it does nothing.
func (a attempt) step(o op) (bool, attempt) {
	holds := a.open && a.epoch == o.Epoch
	did := func(how byte) bool { return o.Epoch > 0 && o.Epoch <= len(a.ended) && a.ended[o.Epoch-1] == how }
	switch o.Verb {
	case "grant":
		if o.Epoch == a.epoch+1 && !a.open {
			return true, attempt{epoch: o.Epoch, open: true, ended: a.ended}
		}
		return o.Epoch <= a.epoch, a // told again
	case "taken":
		return holds, a.close('t')
	case "end":
		return a.ended == o.Lease, a
	}
	switch {
	case o.Result == accepted && o.Verb == "start":
		a.began = a.began || holds
		return holds, a
	case o.Result == accepted && did(o.Verb[0]):
		return true, a
	case o.Result == accepted:
		return holds, a.close(o.Verb[0])
	case o.Result == fenced:
		return !holds && !did(o.Verb[0]), a
	case o.Result == unknown && holds && o.Verb == "start":
		a.began = true
		return true, a
	case o.Result == unknown && holds:
		return true, a.close(o.Verb[0])
	}
	return true, a
}

func (a attempt) close(how byte) attempt {
	return attempt{epoch: a.epoch, ended: a.ended + string(how)}
}

func leaseModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return attempt{} },
		Step: func(state, input, _ any) (bool, any) { return state.(attempt).step(input.(op)) },
	}
}

// lease is a row of the table, in a few words.
type lease struct {
	id    string
	task  int64
	epoch int
	end   string // empty while it is at work, which it is not at the end of a run that passes
}

// judgeHistory checks, task by task, that there is an order of all that agents asked and were answered, in which each
// answer is right, and which ends as the database says.
func judgeHistory(ctx context.Context, f *fleet, r *report) error {
	rows, err := f.pg.admin.Query(ctx, "select id::text, task_id, epoch, coalesce(end_reason, '') from leases order by task_id, epoch")
	if err != nil {
		return err
	}
	leases, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l lease, err error) {
		return l, row.Scan(&l.id, &l.task, &l.epoch, &l.end)
	})
	if err != nil {
		return err
	}
	for task, ops := range histories(leases, f.history.all()) {
		r.Counts.Operations += len(ops)
		switch porcupine.CheckOperationsTimeout(leaseModel(), operations(ops), 10*time.Second) {
		case porcupine.Illegal:
			r.broken("leases are linearizable", fmt.Sprintf("task %d:\n%s", task, describe(ops)))
		case porcupine.Unknown:
			r.broken("leases can be judged", fmt.Sprintf("task %d: %d operations are too many", task, len(ops)))
		}
	}
	return nil
}

// histories puts the operations of each task together, with what the server did by itself: nobody saw when it took a
// lease away, so that may have been at any time. The last operation reads what came of it all.
func histories(leases []lease, ops []op) map[int64][]op {
	of := map[string]lease{}
	out := map[int64][]op{}
	ends := map[int64]string{}
	for _, l := range leases {
		of[l.id] = l
		how := map[string]string{"": "", "finished": "f", "released": "r", "interrupted": "t", "aborted": "t"}[l.end]
		if how == "t" {
			out[l.task] = append(out[l.task], op{Verb: "taken", Epoch: l.epoch, Lease: l.id, Return: forever - 2})
		}
		ends[l.task] += how
		// A grant whose answer was lost was a grant all the same.
		out[l.task] = append(out[l.task], op{Verb: "grant", Epoch: l.epoch, Lease: l.id, Return: forever - 2, Result: accepted})
	}
	for _, o := range ops {
		l, ok := of[o.Lease]
		if ok {
			out[l.task] = append(out[l.task], o)
		}
	}
	for task, end := range ends {
		out[task] = append(out[task], op{Verb: "end", Lease: end, Call: forever - 1, Return: forever})
	}
	return out
}

func operations(ops []op) []porcupine.Operation {
	out := make([]porcupine.Operation, 0, len(ops))
	for i, o := range ops {
		out = append(out, porcupine.Operation{ClientId: i, Input: o, Call: int64(o.Call), Return: int64(o.Return)})
	}
	return out
}

// describe lists a task's operations for people, by the time of their answers.
func describe(ops []op) string {
	var b strings.Builder
	slices.SortFunc(ops, func(a, b op) int { return cmp.Compare(a.Return, b.Return) })
	for _, o := range ops {
		to := "…"
		if o.Return < forever-2 {
			to = fmt.Sprintf("%.3fs", o.Return.Seconds())
		}
		fmt.Fprintf(&b, "  %9.3fs to %9s  %-8s attempt %d  %s\n", min(o.Call, forever/2).Seconds(), to, o.Verb, o.Epoch, o.Result)
	}
	return b.String()
}
