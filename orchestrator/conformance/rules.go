package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall"
	"time"

	"github.com/ottoci/otto/client"
)

const (
	window    = 500 * time.Millisecond
	quiet     = 3 * time.Second
	quietAsks = 20 // how often it may ask within quiet
	rivalName = "conformance-rival"
	attempts  = 3 // at catching an orchestrator between its award and its agent
)

func (p *play) enrols(ctx context.Context) error {
	token, err := p.cfg.Admin.TokenCreate(ctx, client.TokenCreate{Name: "conformance", Role: "enrol-orchestrator"})
	if err != nil {
		return err
	}
	if err := p.start("OTTO_ENROL_TOKEN=" + token.Secret); err != nil {
		return err
	}
	return p.until(ctx, "it enrols, and offers a template", func(ctx context.Context) (bool, error) {
		o, err := p.itself(ctx)
		p.number = o.Orchestrator
		if p.over() {
			return false, errors.New("the command ended")
		}
		return o.State == "online" && len(o.Templates) > 0, err
	})
}

func (p *play) waits(ctx context.Context) error {
	before := p.asked.Load()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(quiet):
	}
	if asks := p.asked.Load() - before; asks > quietAsks {
		return fmt.Errorf("it asked for demand %d times within %s, though nothing had changed: give the version of the answer before as known", asks, quiet)
	}
	if p.asked.Load() == 0 {
		return errors.New("it never asked for demand")
	}
	return nil
}

func (p *play) serves(ctx context.Context) error {
	run, err := p.submit(ctx, "{}", "true", "true")
	if err != nil {
		return err
	}
	return errors.Join(p.succeeds(ctx, run), p.abort(ctx, run))
}

func (p *play) stopsIdle(ctx context.Context) error { return p.free(ctx) }

func (p *play) bids(ctx context.Context) error {
	if err := p.auctions(ctx); err != nil {
		return err
	}
	run, err := p.submit(ctx, "{}", "true")
	if err != nil {
		return err
	}
	if err := p.succeeds(ctx, run); err != nil {
		return errors.Join(err, p.abort(ctx, run))
	}
	awards, err := p.awards(ctx, run)
	if err == nil && (len(awards) != 1 || awards[0].EndReason != "started") {
		return fmt.Errorf("it won %d times, and not the first one was started", len(awards))
	}
	return err
}

// auctions waits until no agent is left, and has auctions from then on.
func (p *play) auctions(ctx context.Context) error {
	if err := p.free(ctx); err != nil {
		return err
	}
	return p.cfg.Switches.Window(ctx, window)
}

// fits auctions a task that only a rival could run, which does not bid.
func (p *play) fits(ctx context.Context) error {
	token, err := p.cfg.Admin.TokenCreate(ctx, client.TokenCreate{Name: "rival", Role: "enrol-orchestrator"})
	if err != nil {
		return err
	}
	enrol, err := client.New(client.Config{URL: p.cfg.URL, Token: token.Secret})
	if err != nil {
		return err
	}
	enrolled, err := enrol.OrchestratorEnrol(ctx, client.OrchestratorOffer{Name: rivalName, Templates: []client.Template{
		{Name: "rival", Offers: map[string]any{"conformance-rival": true}, Instances: 1},
	}})
	if err != nil {
		return err
	}
	rival, err := client.New(client.Config{URL: p.cfg.URL, Token: enrolled.Token})
	if err != nil {
		return err
	}
	if err := p.cfg.Switches.Window(ctx, window); err != nil {
		return err
	}
	refused := p.refused.Load()
	run, err := p.submit(ctx, "{conformance-rival: true}", "true")
	if err != nil {
		return err
	}
	err = p.until(ctx, "an auction of what fits nobody ends", func(ctx context.Context) (bool, error) {
		if _, err := rival.OrchestratorDemand(ctx, client.DemandOptions{}); err != nil {
			return false, err
		}
		page, err := p.cfg.Admin.AuctionList(ctx, client.AuctionListOptions{Run: run})
		return len(page.Items) > 0 && page.Items[0].State != "open", err
	})
	if n := p.refused.Load() - refused; err == nil && n > 0 {
		err = fmt.Errorf("%d of its bids were refused", n)
	}
	return errors.Join(err, p.abort(ctx, run), rival.OrchestratorBye(ctx))
}

// caught plays a scene with an award that is living; an orchestrator may be too fast to be caught.
func (p *play) caught(ctx context.Context, scene func(run int64, award client.Award) error) error {
	for range attempts {
		if err := p.auctions(ctx); err != nil {
			return err
		}
		run, err := p.submit(ctx, "{}", "true")
		if err != nil {
			return err
		}
		award, err := p.wins(ctx, run)
		if err != nil {
			return errors.Join(err, p.abort(ctx, run))
		}
		if award != nil {
			return scene(run, *award)
		}
		if err := p.succeeds(ctx, run); err != nil {
			return err
		}
	}
	return skip("its agents start too fast to be caught between the award and their start")
}

func (p *play) aborted(ctx context.Context) error {
	return p.caught(ctx, func(run int64, _ client.Award) error {
		if err := p.abort(ctx, run); err != nil {
			return err
		}
		return p.free(ctx)
	})
}

func (p *play) revoked(ctx context.Context) error {
	return p.caught(ctx, func(run int64, award client.Award) error {
		if err := p.cfg.Switches.Expire(ctx, award.Award); err != nil {
			return err
		}
		// The agent may have come at the same moment, have taken the task as anybody may, and be stopped with it: that is an attempt.
		if _, err := p.served(ctx, run); err != nil {
			return errors.Join(err, p.abort(ctx, run))
		}
		return p.free(ctx)
	})
}

func (p *play) givesBack(ctx context.Context) error {
	return p.caught(ctx, func(run int64, _ client.Award) error {
		p.waiting = run
		p.signal(syscall.SIGTERM)
		if err := p.ended(ctx); err != nil {
			return err
		}
		awards, err := p.awards(ctx, run)
		if err != nil {
			return err
		}
		if last := awards[len(awards)-1]; last.EndReason != "returned" && last.EndReason != "started" {
			return fmt.Errorf("it ended, and has left its award %s (%s): nobody else gets the task before that is late", last.Award, first(last.EndReason, "living"))
		}
		return p.free(ctx)
	})
}

func (p *play) restarts(ctx context.Context) error {
	if !p.over() {
		p.signal(syscall.SIGTERM)
		if err := p.ended(ctx); err != nil {
			return err
		}
	}
	before := p.greeted.Load() // one that has not said goodbye still seems to be online
	if err := p.start(); err != nil {
		return err
	}
	err := p.until(ctx, "it says hello again, as the same orchestrator", func(ctx context.Context) (bool, error) {
		o, err := p.cfg.Admin.OrchestratorShow(ctx, p.number)
		if p.over() {
			return false, errors.New("the command ended: it must keep its credential, an enrolment token is given to it only once")
		}
		return o.State == "online" && p.greeted.Load() > before, err
	})
	if err != nil || p.waiting == 0 {
		return err
	}
	return errors.Join(p.succeeds(ctx, p.waiting), p.abort(ctx, p.waiting))
}

// killed kills the orchestrator while one of its agents works.
func (p *play) killed(ctx context.Context) error {
	if err := p.auctions(ctx); err != nil {
		return err
	}
	long, err := p.submit(ctx, "{}", "sleep 600")
	if err != nil {
		return err
	}
	err = p.until(ctx, "an agent works", func(ctx context.Context) (bool, error) {
		run, err := p.cfg.Admin.RunShow(ctx, client.RunNumber(long))
		return err == nil && run.Stages[0].Tasks[0].State == client.Running, err
	})
	if err != nil {
		return errors.Join(err, p.abort(ctx, long))
	}
	p.signal(syscall.SIGKILL)
	if err := p.ended(ctx); err != nil {
		return err
	}
	if err := errors.Join(p.start(), p.abort(ctx, long)); err != nil {
		return err
	}
	fresh, err := p.submit(ctx, "{}", "true")
	if err != nil {
		return err
	}
	if err := p.succeeds(ctx, fresh); err != nil {
		return errors.Join(err, p.abort(ctx, fresh))
	}
	return p.free(ctx)
}

func (p *play) leaves(ctx context.Context) error {
	if p.over() {
		return errors.New("the command is over already")
	}
	p.signal(syscall.SIGTERM)
	if err := p.ended(ctx); err != nil {
		return err
	}
	o, err := p.cfg.Admin.OrchestratorShow(ctx, p.number)
	if err == nil && o.State != "offline" {
		err = fmt.Errorf("it ended without saying goodbye (orchestrator-bye): the server holds it for %s", o.State)
	}
	return errors.Join(err, p.free(ctx))
}

// refusedBid says whether an answer refuses a bid for another reason than that the auction is over.
func refusedBid(r *http.Response) bool {
	return r.Request.URL.Path == "/v1/orchestrator/bids" && r.StatusCode >= 400
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
