// Package conformance plays an orchestrator through everything that can happen to it, and says rule by rule whether it keeps the protocol.
// It watches from outside: a private server, the orchestrator's own command, and the requests between them.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/ottoci/otto/client"
)

// Switches are what no API changes.
type Switches interface {
	// Window sets how long auctions are open; 0: there are none.
	Window(ctx context.Context, window time.Duration) error
	// Expire makes an award late.
	Expire(ctx context.Context, award string) error
}

// Config says what is played with.
type Config struct {
	URL      string         // of a private server that nobody else uses
	Admin    *client.Client // an admin there
	Switches Switches
	Command  []string // starts the orchestrator, and is it: what gets its signals
	Dir      string   // where it works; given to it as OTTO_DATA_DIR, too
	Env      []string // beyond that: without OTTO_URL and OTTO_ENROL_TOKEN, which are given
	Output   io.Writer
	Patience time.Duration // how long anything may take
	Only     []string      // the rules to play, after the first; all if empty
}

// The results of a rule.
const (
	Passed  = "passed"
	Failed  = "failed"
	Skipped = "skipped"
)

// Verdict is what came of a rule.
type Verdict struct {
	Rule   string `json:"rule"`
	Says   string `json:"says"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
}

// rule is a scene, and what must come of it.
type rule struct {
	name, says string
	play       func(*play, context.Context) error
}

// rules in the order in which they are played: each begins where the one before has ended.
func rules() []rule {
	return []rule{
		{"enrols", "enrols with OTTO_ENROL_TOKEN at OTTO_URL, and says hello with a template", (*play).enrols},
		{"waits", "asks for demand, and is held while there is nothing new", (*play).waits},
		{"serves", "without auctions, starts agents for what nobody serves", (*play).serves},
		{"stops-idle", "stops agents that have no work", (*play).stopsIdle},
		{"bids", "bids for what fits, and starts what it wins in time", (*play).bids},
		{"fits", "does not bid for what does not fit, nor in auctions that are none of its", (*play).fits},
		{"aborted", "stops what it was starting for a task that is aborted", (*play).aborted},
		{"revoked", "goes on when an award is revoked, and serves the task in another round", (*play).revoked},
		{"gives-back", "asked to end, gives back what it has won and cannot start", (*play).givesBack},
		{"restarts", "started again, is the same orchestrator and goes on", (*play).restarts},
		{"killed", "killed and started again, serves what is new, and leaves no agent running for ever", (*play).killed},
		{"leaves", "asked to end, says goodbye, ends, and leaves no agent behind", (*play).leaves},
	}
}

// chosen are the rules to play. The first always is: without it there is nothing to play with.
func chosen(only []string) ([]rule, error) {
	all := rules()
	for _, name := range only {
		if !slices.ContainsFunc(all, func(r rule) bool { return r.name == name }) {
			return nil, fmt.Errorf("there is no rule %q", name)
		}
	}
	return slices.DeleteFunc(all, func(r rule) bool { return r.name != all[0].name && len(only) > 0 && !slices.Contains(only, r.name) }), nil
}

// skip is why a rule could not be played.
type skip string

func (s skip) Error() string { return string(s) }

// Run plays all rules. The error is about the playing; what the orchestrator does wrong is in the verdicts.
func Run(ctx context.Context, cfg Config, tell func(Verdict)) (failed int, err error) {
	chosen, err := chosen(cfg.Only)
	if err != nil {
		return 0, err
	}
	p, err := newPlay(cfg)
	if err != nil {
		return 0, err
	}
	defer p.end()
	hopeless := ""
	for _, r := range chosen {
		v := Verdict{Rule: r.name, Says: r.says, Result: Passed}
		err := error(skip(hopeless))
		if hopeless == "" {
			err = r.play(p, ctx)
		}
		var skipped skip
		switch {
		case ctx.Err() != nil:
			return failed, context.Cause(ctx)
		case errors.As(err, &skipped):
			v.Result, v.Detail = Skipped, err.Error()
		case err != nil:
			v.Result, v.Detail = Failed, err.Error()
			failed++
			if r.name == "enrols" {
				hopeless = "it never enrolled"
			}
		}
		tell(v)
	}
	return failed, nil
}

// until waits for a condition; otherwise the error says what was waited for.
func (p *play) until(ctx context.Context, what string, is func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, p.cfg.Patience, fmt.Errorf("waited %s in vain: %s", p.cfg.Patience, what))
	defer cancel()
	for {
		ok, err := is(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// itself is the orchestrator as the server sees it; 0 if it never came.
func (p *play) itself(ctx context.Context) (client.Orchestrator, error) {
	page, err := p.cfg.Admin.OrchestratorList(ctx, client.ListOptions{Limit: 500})
	for _, o := range page.Items {
		if o.Name != rivalName {
			return o, err
		}
	}
	return client.Orchestrator{}, err
}

// free waits until no agent is left, so that the next task needs one.
func (p *play) free(ctx context.Context) error {
	return p.until(ctx, "all its agents end when they have no work", func(ctx context.Context) (bool, error) {
		online, err := p.cfg.Admin.AgentList(ctx, client.AgentListOptions{State: "online"})
		if err != nil || len(online.Items) > 0 {
			return false, err
		}
		draining, err := p.cfg.Admin.AgentList(ctx, client.AgentListOptions{State: "draining"})
		return len(draining.Items) == 0, err
	})
}

// submit starts a run of tasks, each with a script.
func (p *play) submit(ctx context.Context, requires string, scripts ...string) (int64, error) {
	text := "stages:\n  - parallel:\n"
	for i, script := range scripts {
		text += fmt.Sprintf("      - {task: t%d, requires: %s, steps: [{sh: %s}]}\n", i, requires, strconv.Quote(script))
	}
	plan, err := p.cfg.Admin.PlanCreate(ctx, client.PlanCreate{Ottofile: text, File: "Ottofile.yaml"})
	if err != nil {
		return 0, err
	}
	run, err := p.cfg.Admin.RunCreate(ctx, client.RunCreate{Project: "conformance", Plan: plan.Digest})
	return run.Run, err
}

// succeeds waits for a run's end, which must be a success at the first attempt.
func (p *play) succeeds(ctx context.Context, run int64) error {
	last, err := p.served(ctx, run)
	if err != nil {
		return err
	}
	for _, t := range last.Stages[0].Tasks {
		if t.Attempt != 1 {
			return fmt.Errorf("task %d took %d attempts, not one", t.Task, t.Attempt)
		}
	}
	return nil
}

// served waits for a run's end, which must be a success.
func (p *play) served(ctx context.Context, run int64) (last client.RunDetail, err error) {
	err = p.until(ctx, fmt.Sprintf("run %d ends", run), func(ctx context.Context) (bool, error) {
		var err error
		last, err = p.cfg.Admin.RunShow(ctx, client.RunNumber(run))
		return client.Final(last.State), err
	})
	if err == nil && last.State != client.Succeeded {
		err = fmt.Errorf("run %d is %s, not succeeded", run, last.State)
	}
	return last, err
}

func (p *play) abort(ctx context.Context, run int64) error {
	_, err := p.cfg.Admin.RunAbort(ctx, client.RunNumber(run), client.RunAbort{Reason: "conformance"})
	if client.IsStatus(err, 409) {
		return nil // it has ended
	}
	return err
}

// wins waits for the first award of a run that is living when it is seen; nil: it was started before.
func (p *play) wins(ctx context.Context, run int64) (award *client.Award, err error) {
	err = p.until(ctx, "it bids and wins", func(ctx context.Context) (bool, error) {
		page, err := p.cfg.Admin.AuctionList(ctx, client.AuctionListOptions{Run: run})
		for _, a := range page.Items {
			if len(a.Awards) == 0 {
				continue
			}
			if w := a.Awards[len(a.Awards)-1]; w.EndReason == "" {
				award = &w
			}
			return true, err
		}
		return false, err
	})
	return award, err
}

// awards lists those of a run, the first one first.
func (p *play) awards(ctx context.Context, run int64) (all []client.Award, err error) {
	page, err := p.cfg.Admin.AuctionList(ctx, client.AuctionListOptions{Run: run})
	for i := len(page.Items) - 1; i >= 0; i-- {
		all = append(all, page.Items[i].Awards...)
	}
	return all, err
}
