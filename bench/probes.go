package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/ottoci/otto/client"
)

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// start asks for a run of a plan.
func (c *clocks) start(ctx context.Context, plan string) (int64, error) {
	run, err := c.user(0).RunCreate(ctx, client.RunCreate{Project: "bench", Plan: plan})
	return run.Run, err
}

// first is from the request for a run to the first instruction of its step.
func (c *clocks) first(ctx context.Context) ([]float64, error) {
	began := time.Now()
	run, err := c.start(ctx, c.plans.real)
	if err != nil {
		return nil, err
	}
	m, err := c.marks.next(ctx)
	if err != nil {
		return nil, err
	}
	return []float64{ms(m.at.Sub(began))}, c.over(ctx, run)
}

// taken is from the request for a run to its task in an agent's hands.
func (c *clocks) taken(ctx context.Context) ([]float64, error) {
	began := time.Now()
	run, err := c.start(ctx, c.plans.noop)
	if err != nil {
		return nil, err
	}
	s, err := c.sighted(ctx, run, "one", true)
	if err != nil {
		return nil, err
	}
	return []float64{ms(s.at.Sub(began))}, c.over(ctx, run)
}

// handOn is from the result of a stage's last task, about to be sent, to the task of the next stage at an agent.
func (c *clocks) handOn(ctx context.Context) ([]float64, error) {
	run, err := c.start(ctx, c.plans.noopStages)
	if err != nil {
		return nil, err
	}
	sent, err := c.sighted(ctx, run, "one", false)
	if err != nil {
		return nil, err
	}
	arrived, err := c.sighted(ctx, run, "two", true)
	if err != nil {
		return nil, err
	}
	return []float64{ms(arrived.at.Sub(sent.at))}, c.over(ctx, run)
}

// sighted waits until a no-op agent has seen this of a run.
func (c *clocks) sighted(ctx context.Context, run int64, stage string, taken bool) (sighting, error) {
	for {
		select {
		case s := <-c.seen:
			if s.lease.Run == run && s.lease.Stage == stage && s.taken == taken {
				return s, nil
			}
		case <-ctx.Done():
			return sighting{}, context.Cause(ctx)
		}
	}
}

// stages is from the end of a stage, by the database's word, and from the last instruction of its step, to the first
// instruction of the next stage's step.
func (c *clocks) stages(ctx context.Context) ([]float64, error) {
	run, err := c.start(ctx, c.plans.realStages)
	if err != nil {
		return nil, err
	}
	last, err := c.marks.next(ctx)
	if err != nil {
		return nil, err
	}
	first, err := c.marks.next(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.over(ctx, run); err != nil {
		return nil, err
	}
	var finished time.Time
	if err := c.db.QueryRow(ctx, "select finished_at from stages where run_id = $1 and index = 0", run).Scan(&finished); err != nil {
		return nil, err
	}
	return []float64{ms(first.at.Round(0).Sub(finished)), ms(first.at.Sub(last.at))}, nil
}

// abort is from the request to stop a run to the death of its step's process.
func (c *clocks) abort(ctx context.Context) ([]float64, error) {
	dead, err := watchEnd(c.hold)
	if err != nil {
		return nil, err
	}
	run, err := c.start(ctx, c.plans.endless)
	if err != nil {
		return nil, err
	}
	if _, err := c.marks.next(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := c.user(0).RunAbort(ctx, client.RunNumber(run), client.RunAbort{Reason: "bench"}); err != nil {
		return nil, err
	}
	if err := dead(ctx); err != nil {
		return nil, err
	}
	took := time.Since(began)
	return []float64{ms(took)}, c.over(ctx, run)
}

// event is from a committed transition to a client of the stream. A person in psql makes the transition, because only
// there is the moment of the commit known.
func (c *clocks) event(ctx context.Context) ([]float64, error) {
	run, err := c.start(ctx, c.plans.nobody)
	if err != nil {
		return nil, err
	}
	arrived := c.events.aborting(run)
	if _, err := c.db.Exec(ctx, "select from otto.run_abort($1, actor => 'psql:bench', reason => 'bench')", run); err != nil {
		return nil, err
	}
	committed := time.Now()
	select {
	case at := <-arrived:
		return []float64{max(ms(at.Sub(committed)), 0)}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the event of run %d did not arrive: %w", run, context.Cause(ctx))
	}
}
