package bench

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// clocks is what latencies are measured with: a rig with one real and one no-op agent to watch, and others for the load.
type clocks struct {
	*rig
	marks  *fifo  // what steps say
	hold   string // path of a pipe that a step holds open while it lives
	seen   chan sighting
	load   *course
	events *follower
	plans  struct{ noop, noopStages, real, realStages, endless, nobody string }
	stops  []func()

	claimed []int64 // tasks of the bare way
}

const loadAgents = 8

// newClocks brings everything up that is watched, and plans what runs on it.
func (s *session) newClocks(ctx context.Context) (_ *clocks, err error) {
	r, err := s.newRig(ctx, "latency")
	if err != nil {
		return nil, err
	}
	c := &clocks{rig: r, seen: make(chan sighting, 1024), load: &course{tasks: 1}, stops: []func(){r.stop}}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	dir := filepath.Join(s.cfg.Dir, r.name)
	if c.marks, err = newFifo(dir, "marks"); err != nil {
		return nil, err
	}
	c.stops = append(c.stops, c.marks.close)
	if c.hold, err = makePipe(dir, "hold"); err != nil {
		return nil, err
	}
	if err := c.addAgents(ctx); err != nil {
		return nil, err
	}
	c.events = r.follow(ctx)
	c.stops = append(c.stops, c.events.stop)
	return c, c.makePlans(ctx)
}

// close stops everything, what was started last first.
func (c *clocks) close() {
	for i := len(c.stops) - 1; i >= 0; i-- {
		c.stops[i]()
	}
}

func (c *clocks) addAgents(ctx context.Context) (err error) {
	watched, err := c.newHerd(ctx, herdSize{1, 4, "noop"}, func(s sighting) { c.seen <- s })
	if err != nil {
		return err
	}
	c.stops = append(c.stops, watched.stop)
	if c.load.herd, err = c.newHerd(ctx, herdSize{loadAgents, noopCapacity, "load"}, nil); err != nil {
		return err
	}
	c.stops = append(c.stops, c.load.herd.stop)
	return c.addAgent(ctx, "real", bareLevel, 4)
}

func (c *clocks) makePlans(ctx context.Context) error {
	for _, p := range []struct {
		digest   *string
		ottofile string
	}{
		{&c.plans.noop, oneTask("noop", "true")},
		{&c.plans.noopStages, twoStages("noop", "true", "true")},
		{&c.plans.real, oneTask("real", c.marks.say("first"))},
		{&c.plans.realStages, twoStages("real", c.marks.say("last"), c.marks.say("first"))},
		{&c.plans.endless, oneTask("real", "exec 3> "+c.hold+"; "+c.marks.say("holds")+"; exec sleep 1000")},
		{&c.plans.nobody, oneTask("nobody", "true")},
		{&c.load.plan, oneTask("load", "true")},
	} {
		digest, err := c.plan(ctx, p.ottofile)
		if err != nil {
			return err
		}
		*p.digest = digest
	}
	return nil
}

// follower reads the stream of all events, and tells who asked for an event when it arrived.
type follower struct {
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu     sync.Mutex
	wanted map[int64]chan time.Time // by run
}

// follow begins to read the stream.
func (r *rig) follow(ctx context.Context) *follower {
	f := &follower{wanted: map[int64]chan time.Time{}}
	ctx, f.cancel = context.WithCancel(ctx)
	f.group.Go(func() {
		_ = r.admin.EventsFollow(ctx, "", func(e client.Event) error { // without events, the samples say so
			at := time.Now()
			f.mu.Lock()
			defer f.mu.Unlock()
			if arrived := f.wanted[e.Run]; arrived != nil && e.Kind == "run.aborting" {
				arrived <- at
				delete(f.wanted, e.Run)
			}
			return nil
		})
	})
	return f
}

// aborting says when the client learns that a run is being aborted.
func (f *follower) aborting(run int64) <-chan time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	arrived := make(chan time.Time, 1)
	f.wanted[run] = arrived
	return arrived
}

func (f *follower) stop() {
	f.cancel()
	f.group.Wait()
}
