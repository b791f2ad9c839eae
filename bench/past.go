package bench

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// past is what a database has seen: one-task runs, finished, or waiting for agents with a label that nobody has.
type past struct {
	runs  int
	label string
}

// keptEvents is for how many runs, the newest, events are made. Fifteen rows for each of a million would take minutes.
const keptEvents = 100_000

// age gives a database its past: one run is made the usual way, and its rows are copied with other numbers. So copies
// are what the schema of today makes of a run, whatever that is.
func (r *rig) age(ctx context.Context, p past, c *course) error {
	if p.runs == 0 {
		return nil
	}
	model, err := r.model(ctx, p, c)
	if err != nil {
		return err
	}
	conn, err := r.db.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// Copies of consistent rows are consistent: their foreign keys need not be looked up one by one.
		if _, err := tx.Exec(ctx, "set local session_replication_role = replica"); err != nil {
			return err
		}
		for _, k := range kinds() {
			if err := k.copy(ctx, tx, model, p.runs); err != nil {
				return fmt.Errorf("copy %s: %w", k.table, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "vacuum analyze") //nolint:misspell // SQL is American
	return err
}

// model makes the run that is copied, and gives its number.
func (r *rig) model(ctx context.Context, p past, c *course) (run int64, err error) {
	if p.label == "" {
		if _, err := r.burst(ctx, c, 1); err != nil {
			return 0, err
		}
	} else {
		plan, err := r.plan(ctx, oneTask(p.label, "true"))
		if err != nil {
			return 0, err
		}
		if err := r.submit(ctx, plan, 1); err != nil {
			return 0, err
		}
	}
	return run, r.db.QueryRow(ctx, "select max(id) from runs").Scan(&run)
}

// kind is how the rows of a table are copied: g numbers the copies, from 1; t is the row of the model.
type kind struct {
	table string
	where string            // which rows are the model's; $1 is its run
	set   map[string]string // columns that differ
	id    string            // the column that a sequence counts
}

func kinds() []kind {
	next := func(columns ...string) map[string]string {
		set := map[string]string{}
		for _, c := range columns {
			set[c] = "t." + c + " + g"
		}
		return set
	}
	runs, leases := next("id"), next("task_id", "run_id")
	runs["uuid"], leases["id"] = "gen_random_uuid()", "md5('bench' || g)::uuid"
	// They ended long ago, one after the other, so that retention has something to do once it is switched on.
	runs["finished_at"] = "t.finished_at - interval '1 year' + g * interval '1 second'"
	events := next("run_id", "stage_id", "task_id")
	events["id"] = "t.id + g * (select count(*) from events where run_id = $1)"
	return []kind{
		{"runs", "id = $1", runs, "id"},
		{"stages", "run_id = $1", next("id", "run_id"), "id"},
		{"tasks", "run_id = $1", next("id", "run_id", "stage_id"), "id"},
		{"leases", "run_id = $1", leases, ""},
		{"steps", "task_id in (select id from tasks where run_id = $1)", next("task_id"), ""},
		{"events", "run_id = $1", events, "id"},
	}
}

// copy makes the copies, and lets the sequence count on after them.
func (k kind) copy(ctx context.Context, tx pgx.Tx, model int64, copies int) error {
	rows, err := tx.Query(ctx, "select column_name::text from information_schema.columns where table_schema = 'public' and table_name = $1 and is_generated = 'NEVER' order by ordinal_position", k.table)
	if err != nil {
		return err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var values []string
	for i, c := range columns {
		columns[i] = pgx.Identifier{c}.Sanitize()
		value, ok := k.set[c]
		if !ok {
			value = "t." + columns[i]
		}
		values = append(values, value)
	}
	from := 1
	if k.table == "events" {
		from = max(copies-keptEvents, 0) + 1
	}
	statement := fmt.Sprintf("insert into %s (%s) overriding system value select %s from (select * from %s where %s) t, generate_series($2::bigint, $3::bigint) g",
		k.table, strings.Join(columns, ", "), strings.Join(values, ", "), k.table, k.where)
	if _, err := tx.Exec(ctx, statement, model, from, copies); err != nil || k.id == "" {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf("select setval(pg_get_serial_sequence('%s', '%s'), (select max(%s) from %s))", k.table, k.id, k.id, k.table))
	return err
}
