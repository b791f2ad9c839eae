package bench

import (
	"context"
	"os"
	"time"
)

// spent is what everything that works for a rig has used so far. Only differences mean something.
type spent struct {
	work
	postgres, server, worker, agents, bench time.Duration // CPU time
	rows                                    int64         // inserted, updated and deleted, as far as Postgres has counted
}

// cost is what a number of tasks used.
type cost struct {
	tasks int
	took  time.Duration
	spent spent
}

func (c cost) rate() float64 { return float64(c.tasks) / c.took.Seconds() }

func (c cost) each(total float64) float64 { return total / float64(c.tasks) }

// spent reads all the meters.
func (r *rig) spent(ctx context.Context) (s spent, err error) {
	if s.work, err = r.s.pg.work(ctx, r.name); err != nil {
		return s, err
	}
	const rows = "select coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint from pg_stat_user_tables"
	if err = r.db.QueryRow(ctx, rows).Scan(&s.rows); err != nil {
		return s, err
	}
	all, err := processes()
	if err != nil {
		return s, err
	}
	s.postgres, s.server, s.worker = tree(all, r.s.pg.server.Pid()), tree(all, r.server.pid()), tree(all, r.worker.pid())
	for _, agent := range r.agents {
		s.agents += tree(all, agent.pid())
	}
	s.bench = all[os.Getpid()].own
	return s, nil
}

func (s spent) since(before spent) spent {
	return spent{
		work: s.work.since(before.work), rows: s.rows - before.rows,
		postgres: s.postgres - before.postgres, server: s.server - before.server, worker: s.worker - before.worker,
		agents: s.agents - before.agents, bench: s.bench - before.bench,
	}
}

// noteCosts reports what a task of a course costs. With no-op agents, the benchmark's own CPU time is theirs and that of
// whoever submits; with real ones, of whoever submits.
func noteCosts(r *Report, c *course) {
	note := func(what, unit string, of func(spent) float64) {
		var s samples
		for _, round := range c.costs {
			s = append(s, round.each(of(round.spent)))
		}
		r.add("throughput", "  "+what+", "+c.name, unit, s)
	}
	note("statements", "/task", func(s spent) float64 { return float64(s.Statements) })
	note("writing transactions", "/task", func(s spent) float64 { return float64(s.Writes) })
	note("rows written", "/task", func(s spent) float64 { return float64(s.rows) })
	note("WAL", "bytes/task", func(s spent) float64 { return float64(s.WAL) })
	note("CPU of Postgres", "ms/task", func(s spent) float64 { return ms(s.postgres) })
	note("CPU of server", "ms/task", func(s spent) float64 { return ms(s.server) })
	note("CPU of worker", "ms/task", func(s spent) float64 { return ms(s.worker) })
	if c.herd == nil {
		note("CPU of agents and steps", "ms/task", func(s spent) float64 { return ms(s.agents) })
		note("CPU of clients", "ms/task", func(s spent) float64 { return ms(s.bench) })
	} else {
		note("CPU of no-op agents and clients", "ms/task", func(s spent) float64 { return ms(s.bench) })
	}
}
