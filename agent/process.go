package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

// job is what a keeper starts; the first line it reads. It does not travel in argv, which everybody can read.
type job struct {
	Argv []string `json:"argv"`
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`
}

// order ends a step early.
type order struct {
	StopMS int64 `json:"stop_ms,omitempty"` // SIGTERM to all processes, this long to end, then SIGKILL
	Kill   bool  `json:"kill,omitempty"`    // SIGKILL now
}

// ending is how a step ended; the last line a keeper writes.
type ending struct {
	Code      int      `json:"code"`
	Signal    int      `json:"signal,omitempty"`    // that ended the main process
	Ordered   bool     `json:"ordered,omitempty"`   // an order came before the end
	Left      []string `json:"left,omitempty"`      // processes that were still there when the main one had ended, and were killed
	Survivors []string `json:"survivors,omitempty"` // processes that could not be killed
	Error     string   `json:"error,omitempty"`     // why it could not be started
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
	keeper *exec.Cmd
	link   *os.File
	output [2]*outlet
	// release lets go of a sink that holds up the step: what is left in the pipes is little.
	release context.CancelFunc

	ended  chan struct{} // closed when ending and err are set
	ending ending
	err    error
}

// sink takes a piece of output of a step as it arrives. It may hold up the step until its context ends.
type sink func(ctx context.Context, kind string, p []byte)

// jobLimit bounds the handing over of a job; a keeper needs long to read it only on a machine that hardly moves.
const jobLimit = time.Minute

// start starts a job under a keeper. Whoever starts it waits for its end; ctx ends only the waiting of the sink.
func (a *Agent) start(ctx context.Context, job job, to sink) (*process, error) {
	p, err := a.keeper()
	if err != nil {
		return nil, err
	}
	flow, release := context.WithCancel(ctx)
	p.release = release
	for i, kind := range outputKinds {
		p.output[i].take = func(b []byte) { to(flow, kind, b) }
		go p.output[i].copy()
	}
	go p.follow(&a.keepers)
	if err := p.send(job, jobLimit); err != nil {
		_ = p.keeper.Process.Kill()
	}
	return p, nil
}

// newKeeper starts a keeper, which waits for its job.
func (a *Agent) newKeeper() (*process, error) {
	p := &process{ended: make(chan struct{}), release: func() {}}
	theirs, err := p.open()
	defer func() {
		for _, f := range theirs {
			_ = f.Close()
		}
	}()
	if err != nil {
		p.closeAll()
		return nil, err
	}
	p.keeper = exec.Command(a.cfg.Keeper[0], a.cfg.Keeper[1:]...)
	p.keeper.Args[0] = "otto"
	p.keeper.Env = []string{} // nil would mean the agent's own
	p.keeper.Stdout, p.keeper.Stderr, p.keeper.ExtraFiles = theirs[0], theirs[1], theirs[2:]
	p.keeper.SysProcAttr = keeperAttributes()
	if err := a.keepers.start(p.keeper); err != nil {
		p.closeAll()
		return nil, fmt.Errorf("start the step's keeper: %w", err)
	}
	return p, nil
}

// open makes the pipes and the socket, and gives the keeper's ends: stdout, stderr, socket.
func (p *process) open() (theirs []*os.File, err error) {
	for i := range outputKinds {
		r, w, err := os.Pipe()
		if err != nil {
			return theirs, err
		}
		theirs = append(theirs, w)
		p.output[i] = newOutlet(r)
	}
	ours, far, err := socketPair()
	if err != nil {
		return theirs, err
	}
	p.link = ours
	return append(theirs, far), nil
}

func (p *process) closeAll() {
	p.release()
	for _, o := range p.output {
		if o != nil {
			_ = o.pipe.Close()
		}
	}
	if p.link != nil {
		_ = p.link.Close()
	}
}

// follow waits for the keeper's report and its end, then for the last of the output.
func (p *process) follow(ks *keepers) {
	defer close(p.ended)
	if err := json.NewDecoder(p.link).Decode(&p.ending); err != nil {
		p.err = errKeeperKilled
	}
	if p.ending.Error != "" {
		p.err = errors.New(p.ending.Error)
	}
	_ = p.keeper.Wait() // its exit status says nothing that the report does not
	swept := ks.ended(p.keeper)
	if p.err != nil {
		p.ending.Left = append(p.ending.Left, swept...)
	}
	p.release()
	var outlets sync.WaitGroup
	for _, o := range p.output {
		outlets.Go(o.finish)
	}
	outlets.Wait()
	_ = p.link.Close()
}

// send writes a line to the keeper.
func (p *process) send(line any, limit time.Duration) error {
	if err := p.link.SetWriteDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	return json.NewEncoder(p.link).Encode(line)
}

// order sends an order. A keeper that cannot hear it is gone, or is killed for not obeying.
func (p *process) order(o order) {
	p.wake()
	_ = p.send(o, time.Second)
}

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
		_ = p.keeper.Process.Kill()
		<-p.ended
	}
}
