package bench

import (
	"context"
	"fmt"
	"math"
)

const figGrowth = "no history → the largest, the change of statements, buffers or planning that is greatest"

// era is a database with some past, and an Otto on it.
type era struct {
	*rig
	name   string
	course *course

	statements, sent, buffers, plan, took samples // for each task
}

// growth measures what a task costs in databases with more and more history, in turns.
func (s *session) growth(ctx context.Context) error {
	eras, err := s.eras(ctx)
	defer func() {
		for _, e := range eras {
			e.course.herd.stop()
			e.stop()
		}
	}()
	if err != nil {
		return err
	}
	if err := s.pg.counting(ctx, true); err != nil {
		return err
	}
	for range s.size.costs {
		for _, e := range eras {
			if err := e.live(ctx); err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
		}
	}
	for _, e := range eras {
		s.report.add("growth", "statements, those in functions too, "+e.name, "/task", e.statements)
		s.report.add("growth", "buffers, "+e.name, "/task", e.buffers)
		s.report.add("growth", "planning, "+e.name, "ms/task", e.plan)
		s.report.add("growth", "execution, "+e.name, "ms/task", e.took)
	}
	empty, largest := eras[0], eras[len(s.size.history)-1]
	most := max(change(empty.statements, largest.statements), change(empty.buffers, largest.buffers), empty.planning(largest))
	s.report.add("growth", figGrowth, "%", samples{100 * most})
	if err := s.retention(ctx, largest); err != nil {
		return fmt.Errorf("measure retention: %w", err)
	}
	return s.pg.counting(ctx, false)
}

// change says how far a cost is from another. One that falls is as strange as one that grows: then the small database is
// treated badly.
func change(from, to samples) float64 { return math.Abs(to.median()/from.median() - 1) }

// planning says how much more, or less, is planned in another era, as a share of what a task takes. Statements are planned
// once for each session, so a task's part is microseconds, and the quotient of two such figures says nothing.
func (e *era) planning(to *era) float64 {
	return math.Abs(to.plan.median()-e.plan.median()) / e.took.median()
}

// live measures one turn. What is counted begins after connections and plans are warm.
func (e *era) live(ctx context.Context) error {
	if _, err := e.burst(ctx, e.course, e.s.size.cost/4); err != nil {
		return err
	}
	got, err := e.burst(ctx, e.course, e.s.size.cost)
	if err != nil {
		return err
	}
	e.statements = append(e.statements, got.each(float64(got.spent.All)))
	e.sent = append(e.sent, got.each(float64(got.spent.Statements)))
	e.buffers = append(e.buffers, got.each(float64(got.spent.Buffers)))
	e.plan = append(e.plan, got.each(got.spent.PlanMS))
	e.took = append(e.took, got.each(got.spent.MS))
	return nil
}

// eras makes the databases: those with finished runs, the smallest first, then the one with a backlog.
func (s *session) eras(ctx context.Context) (eras []*era, err error) {
	for _, runs := range s.size.history {
		e, err := s.newEra(ctx, fmt.Sprintf("%s finished runs", grouped(int64(runs))), past{runs: runs})
		if err != nil {
			return eras, err
		}
		eras = append(eras, e)
	}
	name := fmt.Sprintf("%s tasks waiting for an agent that is not there", grouped(int64(s.size.backlog)))
	e, err := s.newEra(ctx, name, past{runs: s.size.backlog, label: "nobody"})
	if err != nil {
		return eras, err
	}
	return append(eras, e), nil
}

func (s *session) newEra(ctx context.Context, name string, p past) (_ *era, err error) {
	database := fmt.Sprintf("growth%d%s", p.runs, p.label)
	r, err := s.newRig(ctx, database)
	if err != nil {
		return nil, err
	}
	e := &era{rig: r, name: name, course: &course{tasks: 1}}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	if err = r.keep(ctx, "null"); err != nil {
		return nil, err
	}
	if e.course.herd, err = r.newHerd(ctx, herdSize{noopAgents, noopCapacity, "noop"}, nil); err != nil {
		return nil, err
	}
	if e.course.plan, err = r.plan(ctx, oneTask("", "true")); err != nil {
		e.course.herd.stop()
		return nil, err
	}
	if err := r.age(ctx, p, e.course); err != nil {
		e.course.herd.stop()
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	return e, nil
}
