package bench

import (
	"context"
	"errors"
	"fmt"
)

const figRetention = "retention at rest → at work, the change of statements, buffers or planning that is greatest"

// retention measures what a task costs while the runs of long ago are being deleted, at the pace of a worker that is left
// alone, and in turns with that what it costs while they are not.
func (s *session) retention(ctx context.Context, e *era) error {
	atRest := &era{rig: e.rig, course: e.course, name: e.name + ", retention at rest"}
	atWork := &era{rig: e.rig, course: e.course, name: e.name + ", retention at work"}
	var all retired
	for range s.size.costs {
		if err := atRest.live(ctx); err != nil {
			return err
		}
		before, err := e.retire(ctx)
		if err != nil {
			return err
		}
		if err := atWork.live(ctx); err != nil {
			return err
		}
		after, err := e.retired(ctx)
		if err != nil {
			return err
		}
		if after.left == 0 || after.runs == before.runs {
			return errors.New("there was nothing to delete")
		}
		all = all.and(after.since(before))
		if err := e.keep(ctx, "null"); err != nil {
			return err
		}
	}
	s.noteRetention(atRest, atWork, all)
	return nil
}

// retire switches retention on, and answers once it has begun.
func (e *era) retire(ctx context.Context) (begun retired, err error) {
	before, err := e.retired(ctx)
	if err != nil {
		return begun, err
	}
	if err := e.keep(ctx, "interval '90 days'"); err != nil {
		return begun, err
	}
	// The worker looks every ten seconds; this wakes it now.
	if _, err := e.db.Exec(ctx, "select otto.enqueue('runs_prune', '{}')"); err != nil {
		return begun, err
	}
	return begun, e.until(ctx, glance, func(ctx context.Context) (bool, error) {
		begun, err = e.retired(ctx)
		return begun.runs > before.runs, err
	})
}

func (s *session) noteRetention(atRest, atWork *era, all retired) {
	for _, e := range []*era{atRest, atWork} {
		s.report.add("growth", "statements sent, "+e.name, "/task", e.sent)
		s.report.add("growth", "buffers, "+e.name, "/task", e.buffers)
		s.report.add("growth", "planning, "+e.name, "ms/task", e.plan)
		s.report.add("growth", "execution, "+e.name, "ms/task", e.took)
	}
	s.report.add("growth", "runs deleted beside each task", "", samples{all.runs / float64(s.size.costs*(s.size.cost+s.size.cost/4))})
	s.report.add("growth", "deletion, buffers", "/run", samples{all.buffers / all.runs})
	s.report.add("growth", "deletion, execution", "ms/run", samples{all.ms / all.runs})
	most := max(change(atRest.sent, atWork.sent), change(atRest.buffers, atWork.buffers), atRest.planning(atWork))
	s.report.add("growth", figRetention, "%", samples{100 * most})
}

// keep says for how long final runs are kept.
func (r *rig) keep(ctx context.Context, interval string) error {
	_, err := r.db.Exec(ctx, fmt.Sprintf("update cluster set keep_runs = %s, keep_events = null", interval))
	return err
}

// retired is what retention has done so far. Only differences mean something, but of what is left.
type retired struct{ runs, left, buffers, ms float64 }

// retired counts by the history: the runs of the past ended in the order of their numbers, a second apart.
func (e *era) retired(ctx context.Context) (r retired, err error) {
	const runs = `
select coalesce(extract(epoch from min(finished_at)), 0)::float8, count(*)::float8
  from (select finished_at from runs where finished_at < now() - interval '90 days' order by finished_at limit 1) oldest`
	if err := e.db.QueryRow(ctx, runs).Scan(&r.runs, &r.left); err != nil {
		return r, err
	}
	const own = `
select coalesce(sum(s.shared_blks_hit + s.shared_blks_read), 0)::float8, coalesce(sum(s.total_exec_time), 0)::float8
  from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = $1 and s.toplevel and s.query ~ $2`
	return r, e.s.pg.admin.QueryRow(ctx, own, e.rig.name, retiring).Scan(&r.buffers, &r.ms)
}

func (r retired) and(more retired) retired {
	return retired{runs: r.runs + more.runs, buffers: r.buffers + more.buffers, ms: r.ms + more.ms}
}

func (r retired) since(before retired) retired {
	return retired{runs: r.runs - before.runs, left: r.left, buffers: r.buffers - before.buffers, ms: r.ms - before.ms}
}
