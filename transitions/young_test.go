package transitions_test

import "testing"

// A session plans a statement once. One that did so when the tables were young must not read all of them once they have grown:
// until they were analysed again, a task cost more with each one before it.
func TestPlansOfAYoungDatabase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		tasks int // before the statements are planned
		stats string
	}{
		{"never_analysed", 5, "select"},
		{"analysed_as_soon_as_it_may_be", 500, "analyze runs, stages, tasks, leases, steps, plan_tasks"}, //nolint:misspell // SQL is American
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			agent, plan := w.agent(`{}`), w.plan("stages: [{stage: a, steps: [{sh: a}]}]")
			newCosts(w).round(agent, plan, c.tasks)
			must[any](t)(w.db.Owner.Exec(w.ctx(), c.stats))
			later := newCosts(w)
			first := later.fetched(agent, plan)
			for range 8 {
				later.round(agent, plan, 50)
			}
			if last := later.fetched(agent, plan); last > first+first/10 {
				t.Errorf("five tasks read %d rows at first, and %d after 400 others", first, last)
			}
		})
	}
}

// fetched is how many rows five tasks make Postgres read.
func (c *costs) fetched(agent int64, plan string) (rows int64) {
	c.t.Helper()
	for _, statement := range []string{"select pg_stat_force_next_flush()", "begin"} { // else what came before counts too
		must[any](c.t)(c.conn.Exec(c.ctx(), statement))
	}
	c.round(agent, plan, 5)
	const query = "select (sum(coalesce(idx_tup_fetch, 0)) + sum(seq_tup_read))::bigint from pg_stat_xact_user_tables"
	if err := c.conn.QueryRow(c.ctx(), query).Scan(&rows); err != nil {
		c.t.Fatal(err)
	}
	must[any](c.t)(c.conn.Exec(c.ctx(), "commit"))
	c.t.Log(rows)
	return rows
}
