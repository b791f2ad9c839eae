// Package orchestrator is what orchestrators have in common: it speaks the protocol, decides when an agent is wanted and when it is
// not any more, and leaves starting and stopping to a Provider. It knows nothing that the server does not tell it again, so it
// may be killed at any moment.
package orchestrator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/client"
)

// Order is an agent to be started.
type Order struct {
	Name     string // of the agent, and of whatever it runs in; nobody else has it
	Template string
	Token    string // it enrols with
	Award    string // what it is started for; empty: whatever work there is
}

// Provider starts agents on some platform.
type Provider interface {
	// Start starts an agent and returns once it is on its way.
	Start(ctx context.Context, o Order) (Instance, error)
	// Recover finds the agents that an earlier life of the orchestrator has started, and ends what cannot be gone on with.
	Recover(ctx context.Context) ([]Instance, error)
}

// Instance is an agent that was started.
type Instance interface {
	Name() string
	Award() string
	// Done is closed once nothing of it is left.
	Done() <-chan struct{}
	// Drain lets the agent end its tasks and take no more. It does not wait.
	Drain()
	// Kill ends it at once. It does not wait.
	Kill()
}

// Config is what an orchestrator is told.
type Config struct {
	Client   *client.Client // with the orchestrator's credential
	Offer    client.OrchestratorOffer
	Provider Provider
	Limit    int           // the most agents at once, of all templates
	Idle     time.Duration // an agent without work for so long is stopped
	Log      *slog.Logger
}

// Orchestrator works until its context ends.
type Orchestrator struct {
	cfg    Config
	log    *slog.Logger
	living map[string]*running // by the agent's name
	ended  chan struct{}       // gets a value when an instance has ended
}

// running is an instance, and what was seen of its agent.
type running struct {
	Instance
	seen      bool // the server knows its agent
	idleSince time.Time
	draining  bool
}

const (
	backoffFirst = 100 * time.Millisecond
	backoffLimit = 10 * time.Second
	farewell     = 5 * time.Second // for giving back and saying goodbye
)

// New makes an orchestrator; nothing happens before Run.
func New(cfg Config) *Orchestrator {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Orchestrator{cfg: cfg, log: cfg.Log, living: map[string]*running{}, ended: make(chan struct{}, 1)}
}

// Run says hello and serves demand until ctx ends, or the server refuses the orchestrator for good. Then it gives back what it has won
// and has not started, lets its agents drain until hurry ends, and returns when nothing is left of them.
func (o *Orchestrator) Run(ctx, hurry context.Context) error {
	recovered, err := o.cfg.Provider.Recover(ctx)
	if err != nil {
		return fmt.Errorf("find what an earlier life has started: %w", err)
	}
	for _, i := range recovered {
		o.adopt(i)
	}
	err = o.serve(ctx)
	o.leave(hurry)
	return err
}

// serve asks for demand again and again.
func (o *Orchestrator) serve(ctx context.Context) error {
	pause, known, greeted := backoffFirst, "", false
	for ctx.Err() == nil {
		demand, err := o.ask(ctx, greeted, known)
		switch {
		case ctx.Err() != nil:
			return nil
		case refusedForGood(err):
			return fmt.Errorf("the server refuses this orchestrator: %w", err)
		case err != nil:
			o.log.WarnContext(ctx, "server could not be asked, trying on", "error", err)
			greeted, known = false, "" // it may have restarted, or have us for offline
			pause = o.wait(ctx, pause)
			continue
		}
		pause, greeted = backoffFirst, true
		known = demand.Version
		if !o.react(ctx, demand) {
			known = "" // something could not be done: look again soon
			pause = o.wait(ctx, pause)
		}
	}
	return nil
}

// ask says hello where that is due, and asks for demand. An answer without news comes when an agent may have been idle for long enough.
func (o *Orchestrator) ask(ctx context.Context, greeted bool, known string) (client.Demand, error) {
	if !greeted {
		if _, err := o.cfg.Client.OrchestratorHello(ctx, o.cfg.Offer); err != nil {
			return client.Demand{}, err
		}
	}
	wait := 20 * time.Second
	for _, r := range o.living {
		if !r.idleSince.IsZero() && !r.draining {
			wait = min(wait, max(o.cfg.Idle-time.Since(r.idleSince), 10*time.Millisecond))
		}
	}
	return o.demand(ctx, client.DemandOptions{Known: known, WaitMS: max(wait.Milliseconds(), 1)})
}

var errEnded = errors.New("an agent has ended")

// demand asks, and asks again at once when an agent ends meanwhile.
func (o *Orchestrator) demand(ctx context.Context, options client.DemandOptions) (client.Demand, error) {
	held, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answered := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-o.ended:
			cancel(errEnded)
		case <-answered:
		}
	})
	d, err := o.cfg.Client.OrchestratorDemand(held, options)
	close(answered)
	watching.Wait()
	if err != nil && errors.Is(context.Cause(held), errEnded) && ctx.Err() == nil {
		return o.cfg.Client.OrchestratorDemand(ctx, client.DemandOptions{})
	}
	return d, err
}

func (o *Orchestrator) wait(ctx context.Context, pause time.Duration) time.Duration {
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	return min(2*pause, backoffLimit)
}

// refusedForGood says whether going on is pointless: the credential is worth nothing, or an admin has taken it out of service.
func refusedForGood(err error) bool {
	return client.IsStatus(err, http.StatusUnauthorized) || client.IsStatus(err, http.StatusForbidden) || client.IsStatus(err, http.StatusConflict)
}

// react does what the demand asks for; it says whether all of that went well.
func (o *Orchestrator) react(ctx context.Context, d client.Demand) bool {
	o.reap()
	o.observe(d.Agents)
	o.stopEnded(d.Ended)
	well := o.startAwards(ctx, d.Awards)
	well = o.bid(ctx, d) && well
	well = o.serveDemand(ctx, d.Demand) && well
	o.stopIdle()
	return well
}

// reap forgets what has ended.
func (o *Orchestrator) reap() {
	for name, r := range o.living {
		select {
		case <-r.Done():
			o.log.Info("agent ended", "name", name)
			delete(o.living, name)
		default:
		}
	}
}

// observe notes which agents have come, and since when they are idle.
func (o *Orchestrator) observe(agents []client.OrchestratorAgent) {
	for _, a := range agents {
		r := o.living[a.Name]
		switch {
		case r == nil:
		case a.Busy > 0:
			r.seen, r.idleSince = true, time.Time{}
		case r.idleSince.IsZero():
			r.seen, r.idleSince = true, time.Now()
		}
	}
}

// stopEnded kills what was started for awards that came to nothing, unless the agent has found other work.
func (o *Orchestrator) stopEnded(ended []client.EndedAward) {
	for _, e := range ended {
		for _, r := range o.living {
			if r.Award() == e.Award && !r.draining && (!r.seen || !r.idleSince.IsZero()) {
				o.log.Info("agent is not wanted any more", "name", r.Name(), "award", e.Award, "reason", e.Reason)
				r.draining = true
				r.Kill()
			}
		}
	}
}

// startAwards starts an agent for each award that has none.
func (o *Orchestrator) startAwards(ctx context.Context, awards []client.LivingAward) (well bool) {
	well = true
	for _, w := range awards {
		if w.Agent != nil || o.startedFor(w.Award) {
			continue
		}
		if err := o.startAward(ctx, w); err != nil {
			well = false
			o.log.WarnContext(ctx, "award was not started", "award", w.Award, "task", w.Task, "error", err)
		}
	}
	return well
}

func (o *Orchestrator) startedFor(award string) bool {
	for _, r := range o.living {
		if r.Award() == award {
			return true
		}
	}
	return false
}

// startAward takes an award and starts its agent; what cannot be started is given back, so that the next bidder need not wait.
func (o *Orchestrator) startAward(ctx context.Context, w client.LivingAward) error {
	taken, err := o.cfg.Client.AwardTake(ctx, w.Award)
	if client.IsStatus(err, http.StatusConflict) {
		return nil // it ended meanwhile
	}
	if err != nil {
		return err
	}
	err = o.start(ctx, Order{Template: w.Template, Token: taken.Token, Award: w.Award})
	if err == nil {
		return nil
	}
	giveBack, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	return errors.Join(err, o.cfg.Client.AwardReturn(giveBack, w.Award, client.AwardReturn{Reason: shorten(err.Error())}))
}

func (o *Orchestrator) start(ctx context.Context, order Order) error {
	order.Name = "otto-" + strings.ToLower(rand.Text()[:12])
	i, err := o.cfg.Provider.Start(ctx, order)
	if err != nil {
		return fmt.Errorf("start an agent of template %s: %w", order.Template, err)
	}
	o.log.InfoContext(ctx, "agent was started", "name", order.Name, "template", order.Template, "award", order.Award)
	o.adopt(i)
	return nil
}

// adopt makes an instance one of ours. Its end may make room for what the server has told already.
func (o *Orchestrator) adopt(i Instance) {
	o.living[i.Name()] = &running{Instance: i}
	go func() {
		<-i.Done()
		select {
		case o.ended <- struct{}{}:
		default:
		}
	}()
}

// room is how many more agents may be started.
func (o *Orchestrator) room() int { return o.cfg.Limit - len(o.living) }

// bid offers the cheapest template for each task, as far as there is room for all that could be won.
func (o *Orchestrator) bid(ctx context.Context, d client.Demand) (well bool) {
	well = true
	room := o.room()
	for _, a := range d.Auctions {
		for _, lot := range a.Tasks {
			room -= min(len(lot.Bids), 1)
		}
	}
	for _, a := range d.Auctions {
		for _, lot := range a.Tasks {
			if len(lot.Bids) > 0 || room <= 0 {
				continue
			}
			_, err := o.cfg.Client.BidPlace(ctx, client.BidPlace{Auction: a.Auction, Task: lot.Task, Template: lot.Templates[0]})
			switch {
			case err == nil:
				room--
			case !client.IsStatus(err, http.StatusConflict) && !client.IsStatus(err, http.StatusNotFound): // those are: it is over
				well = false
				o.log.WarnContext(ctx, "bid was not placed", "task", lot.Task, "error", err)
			}
		}
	}
	return well
}

// serveDemand starts agents for what nobody serves. Those that are on their way will serve some of it, so they count.
func (o *Orchestrator) serveDemand(ctx context.Context, lots []client.Lot) (well bool) {
	coming := 0
	for _, r := range o.living {
		if !r.seen && !r.draining {
			coming++
		}
	}
	for _, lot := range lots[min(coming, len(lots)):] {
		if o.room() <= 0 || len(lot.Templates) == 0 {
			return true
		}
		enrolment, err := o.cfg.Client.EnrolmentCreate(ctx, client.EnrolmentCreate{Template: lot.Templates[0]})
		if client.IsStatus(err, http.StatusConflict) {
			return true // the template has all its instances; the server tells when that changes
		}
		if err == nil {
			err = o.start(ctx, Order{Template: lot.Templates[0], Token: enrolment.Token})
		}
		if err != nil {
			o.log.WarnContext(ctx, "demand was not served", "task", lot.Task, "error", err)
			return false
		}
	}
	return true
}

// stopIdle drains agents that have had no work for long enough. One that gets some just now ends it first.
func (o *Orchestrator) stopIdle() {
	for _, r := range o.living {
		if !r.draining && !r.idleSince.IsZero() && time.Since(r.idleSince) >= o.cfg.Idle {
			o.log.Info("agent is idle and stops", "name", r.Name())
			r.draining = true
			r.Drain()
		}
	}
}

// leave gives back what it has won and cannot start any more, says goodbye, and ends all agents: they drain until hurry ends, then they are
// killed.
func (o *Orchestrator) leave(hurry context.Context) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	o.giveBackAll(ctx)
	if err := o.cfg.Client.OrchestratorBye(ctx); err != nil {
		o.log.WarnContext(ctx, "goodbye was not heard", "error", err)
	}
	var wg sync.WaitGroup
	for _, r := range o.living {
		r.Drain()
		wg.Go(func() {
			select {
			case <-r.Done():
				return
			case <-hurry.Done():
			}
			r.Kill()
			<-r.Done()
		})
	}
	wg.Wait()
}

// giveBackAll gives back all awards whose agents have not come, and stops what was started for them.
func (o *Orchestrator) giveBackAll(ctx context.Context) {
	d, err := o.cfg.Client.OrchestratorDemand(ctx, client.DemandOptions{})
	if err != nil {
		o.log.WarnContext(ctx, "awards were not given back", "error", err)
		return
	}
	for _, w := range d.Awards {
		err := o.cfg.Client.AwardReturn(ctx, w.Award, client.AwardReturn{Reason: "the orchestrator ends"})
		if err != nil { // mostly because the agent has just come: it may end its task
			o.log.InfoContext(ctx, "award was not given back", "award", w.Award, "error", err)
			continue
		}
		for _, r := range o.living {
			if r.Award() == w.Award {
				r.Kill()
			}
		}
	}
}

// shorten keeps a reason within what the API takes.
func shorten(reason string) string { return reason[:min(len(reason), 1000)] }
