package bench

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Figures that verdicts are about.
const (
	figOneTask = "one-task runs, no-op agents"
	figHundred = "100-task runs, no-op agents"
	figShell   = "one-task runs, real agents, sh -c true"
	figCells   = "the same, each task a user of its own"
)

const (
	noopAgents   = 16
	noopCapacity = 8
	realAgents   = 2
	realCapacity = 8
	manyOf       = 100 // tasks of a large run
	topList      = 20  // statements that are printed
)

// course is one way of sending tasks through Otto, measured in turns with its ceiling.
type course struct {
	name    string
	plan    string // digest
	tasks   int    // of a run
	ceiling load
	herd    *herd // who does the work; real agents if nil

	rates, ceilings samples
	costs           []cost
}

// throughput measures tasks per second of each course, and what a task costs.
func (s *session) throughput(ctx context.Context) error {
	r, err := s.newRig(ctx, "throughput")
	if err != nil {
		return err
	}
	defer r.stop()
	if err := r.noopCourses(ctx); err != nil {
		return err
	}
	if err := r.shellCourse(ctx, figShell, bareLevel, ""); err != nil || os.Geteuid() != 0 { // only root has users to give
		return err
	}
	return r.shellCourse(ctx, figCells, "S1", "users")
}

// noopCourses are those with agents that do nothing: what the protocol, the server and the database can do.
func (r *rig) noopCourses(ctx context.Context) error {
	h, err := r.newHerd(ctx, herdSize{noopAgents, noopCapacity, "noop"}, nil)
	if err != nil {
		return err
	}
	defer h.stop()
	one, err := r.plan(ctx, oneTask("", "true"))
	if err != nil {
		return err
	}
	hundred, err := r.plan(ctx, manyTasks(manyOf, "", "true"))
	if err != nil {
		return err
	}
	first := &course{name: figOneTask, plan: one, tasks: 1, ceiling: unbatched(), herd: h}
	for _, c := range []*course{first, {name: figHundred, plan: hundred, tasks: manyOf, ceiling: unbatched(), herd: h}} {
		if err := r.turns(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return r.anatomy(ctx, first)
}

// shellCourse is one with real agents, which start a process for each task, and isolate it so far. The label keeps its tasks from
// agents of the course before.
func (r *rig) shellCourse(ctx context.Context, name, level, label string) error {
	for range realAgents {
		if err := r.addAgent(ctx, label, level, realCapacity); err != nil {
			return err
		}
	}
	one, err := r.plan(ctx, oneTask(label, "true"))
	if err != nil {
		return err
	}
	return r.turns(ctx, &course{name: name, plan: one, tasks: 1, ceiling: unbatchedShell()})
}

// turns measures ceiling, otto, ceiling, otto, … ceiling. Each rate of Otto is held against the mean of its neighbours.
func (r *rig) turns(ctx context.Context, c *course) error {
	size := r.s.size
	if _, err := r.burst(ctx, c, size.warm); err != nil { // agents come to be meanwhile: it says nothing of how fast they are
		return err
	}
	warm, err := r.burst(ctx, c, size.warm)
	if err != nil {
		return err
	}
	before, err := r.s.floor.rate(ctx, c.ceiling, size.round/2)
	if err != nil {
		return err
	}
	for range size.rounds {
		tasks := max(int(warm.rate()*size.round.Seconds()), size.runs*c.tasks)
		got, err := r.burst(ctx, c, tasks)
		if err != nil {
			return err
		}
		after, err := r.s.floor.rate(ctx, c.ceiling, size.round/2)
		if err != nil {
			return err
		}
		c.rates, c.ceilings = append(c.rates, got.rate()), append(c.ceilings, (before+after)/2)
		c.costs = append(c.costs, got)
		before, warm = after, got
	}
	r.s.report.add("throughput", c.name, "tasks/s", c.rates).beside(c.rates, c.ceilings)
	noteCosts(r.s.report, c)
	return nil
}

// burst sends about so many tasks through, from the first request to the last result, and answers what they cost.
func (r *rig) burst(ctx context.Context, c *course, tasks int) (cost, error) {
	runs := max((tasks+c.tasks-1)/c.tasks, 1)
	before, err := r.spent(ctx)
	if err != nil {
		return cost{}, err
	}
	began := time.Now()
	if c.herd != nil {
		goal := c.herd.finished.Load() + int64(runs*c.tasks)
		if err := r.submit(ctx, c.plan, runs); err != nil {
			return cost{}, err
		}
		err = c.herd.await(ctx, goal)
	} else {
		if err := r.submit(ctx, c.plan, runs); err != nil {
			return cost{}, err
		}
		err = r.quiet(ctx)
	}
	took := time.Since(began)
	if err != nil {
		return cost{}, err
	}
	after, err := r.spent(ctx)
	return cost{tasks: runs * c.tasks, took: took, spent: after.since(before)}, err
}

// anatomy lists the statements that a task consists of, with those inside of functions. It is not timed: counting costs.
func (r *rig) anatomy(ctx context.Context, c *course) error {
	if err := r.s.pg.counting(ctx, true); err != nil {
		return err
	}
	if err := r.s.pg.forget(ctx); err != nil {
		return err
	}
	got, err := r.burst(ctx, c, r.s.size.cost)
	if err != nil {
		return err
	}
	if r.s.report.Statements, err = r.s.pg.statements(ctx, r.name, got.tasks, topList); err != nil {
		return err
	}
	return r.s.pg.counting(ctx, false)
}
