package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// run does the whole: a fleet, the safety phase, the liveness phase, the oracle. An error means that nothing was found
// out; broken promises are in the report.
func run(ctx context.Context, cfg config) (_ *report, err error) {
	keep := cfg.Dir != ""
	if !keep {
		if cfg.Dir, err = os.MkdirTemp("", "otto-chaos-"); err != nil {
			return nil, err
		}
		if err = os.Chmod(cfg.Dir, 0o711); err != nil { // Postgres may run as another user, and must pass
			return nil, err
		}
	} else if err = os.MkdirAll(cfg.Dir, 0o755); err != nil { //nolint:gosec // as above
		return nil, err
	}
	r := newReport(cfg)
	r.say("seed %d: bringing up %d API nodes, %d workers, %d agents in %s", cfg.Seed, apiNodes, workers, agents, cfg.Dir)
	f, err := bringUp(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("bring up the fleet in %s: %w", cfg.Dir, err)
	}
	if f.noDisks != nil {
		r.LeftOut = fmt.Sprintf("fill-disk and fill-database, because no small disk can be mounted: %v", f.noDisks)
	}
	r.starts()
	err = try(ctx, cfg, f, r)
	endErr := f.end(ctx)
	if err != nil {
		return nil, errors.Join(err, endErr)
	}
	if endErr != nil {
		r.broken("end", endErr.Error())
	}
	afterEnd(f, r)
	r.conclude()
	if r.Passed && !keep {
		r.Dir = ""
		return r, os.RemoveAll(cfg.Dir)
	}
	return r, nil
}

// startPatience is how long a fleet may take to come up while nothing is wrong.
const startPatience = 2 * time.Minute

func bringUp(ctx context.Context, cfg config) (*fleet, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	return newFleet(ctx, cfg)
}

// try breaks the fleet, heals it, and judges it.
func try(ctx context.Context, cfg config, f *fleet, r *report) error {
	users := newLoad(f, cfg.Seed)
	began := time.Now()
	safety(ctx, cfg, f, r, users)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := rightClock(f); err != nil {
		return err
	}
	r.Safety = time.Since(began)
	r.say("faults are over: everything must be finished within %s", cfg.Settle)
	healed := time.Now()
	if err := liveness(ctx, cfg, f, r); err != nil {
		return err
	}
	r.Liveness = time.Since(healed)
	if err := judge(ctx, f, r, users); err != nil {
		r.broken("every trace can be judged", err.Error())
	}
	return context.Cause(ctx)
}

// safety is the phase with faults. The invariants are looked at all the time.
func safety(ctx context.Context, cfg config, f *fleet, r *report, users *load) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Time)
	defer cancel()
	r.Faults = schedule(cfg.Seed, cfg.Time, cfg.Only)
	var going sync.WaitGroup
	going.Go(func() { users.run(ctx) })
	going.Go(func() { watch(ctx, f, r) })
	inflict(ctx, f, r.Faults, func(done fault) { r.say("%s", done) })
	<-ctx.Done() // the last fault may be long over
	going.Wait()
}

// liveness waits until nothing is left to do. What is left when its time is up is what broke.
func liveness(ctx context.Context, cfg config, f *fleet, r *report) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.Settle)
	defer cancel()
	err := until(ctx, "everything is finished", func() (bool, error) {
		n, err := f.number(ctx, "select count(*) from ("+unfinished+") u")
		return err == nil && n == 0, nil // the database may still be recovering
	})
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	left, err := texts(context.WithoutCancel(ctx), f, unfinished)
	if err != nil {
		return fmt.Errorf("ask what is left: %w", err)
	}
	for _, what := range left {
		r.broken("liveness", what)
	}
	return nil
}
