package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The figures of this section end with the load under which they were measured.
const (
	figFirst   = "submit → first instruction, "
	figTake    = "submit → task at a no-op agent, "
	figStage   = "stage finished → first instruction of the next, "
	figBetween = "last instruction → first of the next stage, "
	figHandOn  = "result sent → next stage's task at a no-op agent, "
	figAbort   = "abort → process dead, "
	figEvent   = "event committed → stream client has it, "

	idle   = "idle"
	load30 = "30 % load"
	load50 = "50 % load"
)

const (
	samplePatience = time.Minute // for one sample; then something is stuck
	fewest         = 20          // samples, however long they take
)

// probe takes one sample, in milliseconds; more than one figure may come of it.
type probe struct {
	names []string
	take  func(ctx context.Context) ([]float64, error)
	bare  func(ctx context.Context) (float64, error) // what bounds the first; may be nil
}

// level is how busy the system is while samples are taken.
type level struct {
	name    string
	share   float64 // of what the rig can take
	patient time.Duration
	probes  []probe
}

func (s *session) latency(ctx context.Context) error {
	c, err := s.newClocks(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	first, take := probe{[]string{figFirst}, c.first, c.bareFirst}, probe{[]string{figTake}, c.taken, c.bareTaken}
	others := []probe{
		{[]string{figHandOn}, c.handOn, c.bareHandOn}, {[]string{figStage, figBetween}, c.stages, c.bareStages},
		{[]string{figAbort}, c.abort, nil}, {[]string{figEvent}, c.event, nil},
	}
	reached, err := c.reached(ctx)
	if err != nil {
		return err
	}
	patient := s.size.patient
	for _, l := range []level{
		{idle, 0, patient.idle, append([]probe{first, take}, others...)},
		{load30, 0.3, patient.busy, []probe{first, take}},
		{load50, 0.5, patient.extra, append([]probe{first, take}, others...)},
	} {
		if err := c.measure(ctx, l, reached); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

// reached is the rate of one-task runs that this rig comes to, in tasks per second.
func (c *clocks) reached(ctx context.Context) (float64, error) {
	warm, err := c.burst(ctx, c.load, c.s.size.warm)
	if err != nil {
		return 0, err
	}
	got, err := c.burst(ctx, c.load, int(warm.rate()*c.s.size.round.Seconds())+1)
	if err != nil {
		return 0, err
	}
	c.s.report.add("latency", "one-task runs, all of the load that the rig can take", "tasks/s", samples{got.rate()})
	return got.rate(), nil
}

// measure takes the samples of all probes while tasks flow.
func (c *clocks) measure(ctx context.Context, l level, reached float64) (err error) {
	if rate := l.share * reached; rate > 0 {
		flow := c.startFlow(ctx, c.load.plan, rate)
		defer func() { err = errors.Join(err, flow.stop()) }()
		if err := c.load.herd.await(ctx, c.load.herd.finished.Load()+int64(rate/2)+1); err != nil { // half a second of it
			return err
		}
	}
	for _, p := range l.probes {
		if err := c.sample(ctx, l, p); err != nil {
			return fmt.Errorf("%s%s: %w", p.names[0], l.name, err)
		}
	}
	return nil
}

// sample takes one probe's samples.
func (c *clocks) sample(ctx context.Context, l level, p probe) error {
	taken, bare := make([]samples, len(p.names)), samples{}
	for began, n := time.Now(), 0; n < c.s.size.samples && (n < fewest || time.Since(began) < l.patient); n++ {
		if err := c.alive(); err != nil {
			return err
		}
		values, floor, err := p.once(ctx)
		if err != nil {
			return err
		}
		for i, v := range values {
			taken[i] = append(taken[i], v)
		}
		bare = append(bare, floor)
	}
	for i, name := range p.names {
		f := c.s.report.add("latency", name+l.name, "ms", taken[i])
		if i == 0 && p.bare != nil {
			f.beside(taken[i], bare)
		}
	}
	return nil
}

// once takes one sample, and one of what bounds it.
func (p probe) once(ctx context.Context) (values []float64, bare float64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, samplePatience, errStuck)
	defer cancel()
	if values, err = p.take(ctx); err != nil || p.bare == nil {
		return values, 0, err
	}
	bare, err = p.bare(ctx)
	return values, bare, err
}

var errStuck = errors.New("nothing happens any more")
