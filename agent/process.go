package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ottoci/otto/agent/isolation"
)

// message is a line to a keeper: a job, or an order about the job that runs.
type message struct {
	Job   *job   `json:"job,omitempty"`
	Order *order `json:"order,omitempty"`
}

// job is what a keeper starts. It does not travel in argv, which everybody can read.
type job struct {
	Argv []string `json:"argv"`
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`

	Cell *isolation.Cell `json:"cell,omitempty"` // where it runs; beside the keeper, with nothing between, if nil
}

// order ends a step early.
type order struct {
	StopMS int64 `json:"stop_ms,omitempty"` // SIGTERM to all processes, this long to end, then SIGKILL
	Kill   bool  `json:"kill,omitempty"`    // SIGKILL now
}

// ending is how a step ended; a line from a keeper.
type ending struct {
	Code      int      `json:"code"`
	Signal    int      `json:"signal,omitempty"`    // that ended the main process
	Limit     string   `json:"limit,omitempty"`     // that it was killed for, such as oom
	Ordered   bool     `json:"ordered,omitempty"`   // an order came before the end
	Left      []string `json:"left,omitempty"`      // processes that were still there when the main one had ended, and were killed
	Survivors []string `json:"survivors,omitempty"` // processes that could not be killed
	Error     string   `json:"error,omitempty"`     // why it could not be started
	Worn      string   `json:"worn,omitempty"`      // why this keeper ends now, and serves no other step
}

// exitCode is the status as a shell tells it: 128+n for signal n.
func (e ending) exitCode() int {
	if e.Signal > 0 {
		return 128 + e.Signal
	}
	return e.Code
}

var errKeeperKilled = errors.New("the keeper of the step was killed")

// process is a step that runs, seen from the agent.
type process struct {
	keeper overseer
	output [2]*outlet
	// release lets go of a sink that holds up the step: what is left in the pipes is little.
	release context.CancelFunc

	ended  chan struct{} // closed when ending and err are set
	ending ending
	err    error
}

// overseer ends a step early: its keeper, or what stands for one where steps are simulated.
type overseer interface {
	order(p *process, o order)
	kill(p *process)
}

// sink takes a piece of output of a step as it arrives. It may hold up the step until its context ends.
type sink func(ctx context.Context, kind string, p []byte)

// start starts a job under a keeper. Whoever starts it waits for its end; ctx ends only the waiting of the sink.
func (a *Agent) start(ctx context.Context, job job, to sink) (*process, error) {
	keeper, err := a.keeper()
	if err != nil {
		return nil, err
	}
	p := &process{keeper: keeper, ended: make(chan struct{})}
	theirs, err := p.open()
	defer closeEnds(theirs)
	if err != nil {
		a.giveBack(keeper)
		return nil, fmt.Errorf("make the step's outputs: %w", err)
	}
	flow, release := context.WithCancel(ctx)
	p.release = release
	for i, kind := range outputKinds {
		p.output[i].take = func(b []byte) { to(flow, kind, b) }
		go p.output[i].copy()
	}
	keeper.serve(p, job, theirs)
	go p.follow(a, keeper)
	return p, nil
}

// open makes the pipes, new for each step: a step can change what it shares with the next. It gives the keeper's ends.
func (p *process) open() (theirs []*os.File, err error) {
	for i := range outputKinds {
		r, w, err := outputPipe()
		if err != nil {
			if i > 0 {
				_ = p.output[0].pipe.Close()
			}
			return theirs, err
		}
		theirs = append(theirs, w)
		p.output[i] = newOutlet(r)
	}
	return theirs, nil
}

func closeEnds(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// follow waits for the keeper's report, then for the last of the output.
func (p *process) follow(a *Agent, keeper *attendant) {
	defer close(p.ended)
	err := keeper.reports.Decode(&p.ending)
	switch {
	case err != nil:
		p.err = errKeeperKilled
		p.ending.Left = append(p.ending.Left, a.bury(keeper)...)
	case p.ending.Worn != "":
		a.bury(keeper)
	default:
		a.giveBack(keeper)
	}
	if p.ending.Error != "" {
		p.err = errors.New(p.ending.Error)
	}
	p.release()
	for _, o := range p.output {
		o.finish()
	}
}

// order sends an order. A keeper that cannot hear it is gone, or is killed for not obeying.
func (p *process) order(o order) { p.keeper.order(p, o) }

// stop asks the step to end, and kills it after the grace time, or at once when ctx ends.
func (p *process) stop(ctx context.Context, grace time.Duration) {
	p.order(order{StopMS: grace.Milliseconds()})
	timer := time.NewTimer(grace + keeperPatience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill()
	case <-timer.C:
		p.kill()
	}
}

// kill ends the step now. A keeper that does not manage to is killed itself; the agent then sweeps in its place.
func (p *process) kill() {
	p.order(order{Kill: true})
	timer := time.NewTimer(keeperPatience)
	defer timer.Stop()
	select {
	case <-p.ended:
	case <-timer.C:
		p.keeper.kill(p)
		<-p.ended
	}
}
