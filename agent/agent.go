// Package agent executes tasks. An agent takes leases from a server over HTTP, runs their steps, each under a keeper that
// leaves no process behind, and reports results and logs. It keeps working while the server is away.
//
// What must not wait for each other has its own goroutine and its own connections: heartbeats, the held request for
// work, the reports of each task, the log of each task.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/agent/checkout"
	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// Agent runs tasks. Make it with New and run it once.
type Agent struct {
	cfg      Config
	log      *slog.Logger
	settings client.AgentSettings

	control *client.Client // work, orders, reports
	reports *client.Reporter
	pulse   *client.Client // heartbeats
	logs    *client.Client // logs and sources: bulk
	pools   []*http.Transport

	dir        *workDir
	sources    *sources
	repos      *checkout.Store
	roster     *roster
	keepers    keepers
	spare      spare
	containers containers
	host       *isolation.Host  // nil if the agent isolates nothing
	proven     isolation.Report // what it isolates
	zip        *zstd.Encoder

	// What a simulation in virtual time does in its own way: nothing in it may wait for the world outside.
	launch    func(context.Context, job, sink) (*process, error) // start, else
	transport http.RoundTripper                                  // pools of connections if nil
	jitter    func(time.Duration) time.Duration                  // any duration below this one

	kick     chan struct{} // wakes the heartbeat
	drain    chan struct{} // closed by Drain and Retire
	hurry    chan struct{} // closed by Drain: tasks have DrainTimeout to end
	stop     chan struct{} // closed by Stop
	done     chan struct{} // closed when Run returns
	draining sync.Once
	hurrying sync.Once
	stopping sync.Once
	failure  error  // why the agent stopped by itself; written before stop is closed
	tools    *tools // nil: it looks for none
}

// stopTimeout is for the last reports and logs once the agent stops; whoever starts it again does not want to wait.
const stopTimeout = 15 * time.Second

var (
	errLeaseLost = errors.New("the lease is lost")
	errStopped   = errors.New("the agent stops")
	errDrained   = errors.New("the agent drained for too long")
	errAgentEnd  = errors.New("the agent ended")
)

// New checks the settings. Nothing is touched before Run.
func New(cfg Config) (*Agent, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	// A window of one chunk is all that a frame can use. The level takes twice the time of the fastest, about 5 ms for a MiB,
	// and makes what the database has to write 6 % less.
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(min(runtime.GOMAXPROCS(0), 4)), zstd.WithWindowSize(1<<20), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg:     cfg,
		log:     cfg.Log,
		roster:  newRoster(cfg.Capacity),
		keepers: keepers{adopt: !cfg.Shared},
		zip:     zip,
		kick:    make(chan struct{}, 1),
		drain:   make(chan struct{}),
		hurry:   make(chan struct{}),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		jitter:  func(span time.Duration) time.Duration { return rand.N(span) },
	}
	a.launch = a.start
	return a, nil
}

// Run works until ctx is cancelled, Drain or Stop is called, or the server refuses the agent's credential; only the last
// is an error. When it returns, no process, goroutine or temporary file is left.
func (a *Agent) Run(ctx context.Context) (err error) {
	defer close(a.done)
	if !a.cfg.Shared {
		if err := ownProcess(); err != nil {
			return err
		}
	}
	if a.dir, err = openWorkDir(ctx, a.cfg); err != nil {
		return err
	}
	defer a.dir.close()
	if err := a.prove(ctx); err != nil {
		return err
	}
	defer a.unprove()
	if err := a.openEngine(ctx); err != nil {
		return err
	}
	defer a.closeEngine(ctx)
	if len(a.cfg.Tools) > 0 {
		a.tools = openTools(a.dir.tools(), a.cfg.hostEnv()["PATH"])
	}
	a.sources = &sources{dir: a.dir.cache(), limit: a.cfg.CacheBytes}
	if a.repos, err = a.openRepos(); err != nil {
		return err
	}
	defer a.hangUp()
	if err := a.connectUntilStopped(ctx); err != nil {
		if a.leaving(ctx) {
			return nil
		}
		return err
	}
	a.prepareKeeper()
	defer a.closeSpare()
	a.serve(ctx)
	return a.failure
}

// Drain takes no more work, lets running tasks end within DrainTimeout, hands back the others, and ends Run. Cancelling
// Run's context does the same.
func (a *Agent) Drain() {
	a.hurrying.Do(func() { close(a.hurry) })
	a.draining.Do(func() { close(a.drain) })
}

// Retire takes no more work, lets running tasks end however long they take, and ends Run. Drain and Stop cut the waiting short.
func (a *Agent) Retire() {
	a.draining.Do(func() { close(a.drain) })
}

// Stop kills all work, hands its leases back, and returns when Run has. It may be called again, and only after Run.
func (a *Agent) Stop() {
	a.halt(nil)
	<-a.done
}

// fail stops the agent for a reason that makes going on pointless.
func (a *Agent) fail(err error) { a.halt(err) }

func (a *Agent) halt(why error) {
	a.stopping.Do(func() {
		if why != nil {
			a.failure = why
		}
		close(a.stop)
	})
}

// connectUntilStopped is connect, which tries for ever, for as long as nobody wants the agent to end.
func (a *Agent) connectUntilStopped(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan struct{})
	var watch sync.WaitGroup
	defer watch.Wait()
	defer close(ended)
	watch.Go(func() {
		select {
		case <-a.drain:
		case <-a.stop:
		case <-ended:
		}
		cancel(errStopped)
	})
	return a.connect(ctx)
}

func (a *Agent) leaving(ctx context.Context) bool {
	select {
	case <-a.drain:
	case <-a.stop:
	case <-ctx.Done():
	default:
		return false
	}
	return true
}

// serve runs the loops until the agent has drained or stopped. They outlive ctx: heartbeats go on while tasks end.
func (a *Agent) serve(ctx context.Context) {
	live, end := context.WithCancelCause(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	loops.Go(func() { a.takeWork(live) })
	loops.Go(func() { a.beat(live) })
	loops.Go(func() { a.lookForTools(live) })
	select {
	case <-ctx.Done():
	case <-a.drain:
	case <-a.stop:
	}
	a.empty(ctx, live, end)
	end(errAgentEnd)
	loops.Wait()
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := a.control.AgentBye(bye); err != nil {
		a.log.WarnContext(ctx, "goodbye not heard", "error", err)
	}
	a.log.InfoContext(ctx, "agent stopped")
}

// empty brings all tasks to an end: by waiting, then by handing them back, then by leaving them to the server. Unless the agent
// retires, the waiting has an end; asked ends when somebody wants it to.
func (a *Agent) empty(asked, live context.Context, end context.CancelCauseFunc) {
	quiet := a.roster.close()
	select {
	case a.kick <- struct{}{}: // tell the server at once
	default:
	}
	a.log.InfoContext(live, "agent draining", "tasks", len(a.roster.held()), "timeout_ms", a.cfg.DrainTimeout.Milliseconds())
	why := errStopped
	select {
	case <-quiet:
		return
	case <-a.hurry:
	case <-asked.Done():
	case <-a.stop:
	}
	timeout := time.NewTimer(a.cfg.DrainTimeout)
	defer timeout.Stop()
	select {
	case <-quiet:
		return
	case <-timeout.C:
		why = errDrained
	case <-a.stop:
	}
	a.log.InfoContext(live, "handing back running tasks", "tasks", len(a.roster.held()), "reason", why)
	for _, t := range a.roster.held() {
		t.kill(why)
	}
	timeout.Reset(stopTimeout)
	select {
	case <-quiet:
	case <-timeout.C:
		a.log.WarnContext(live, "gave up on the last reports")
		end(errAgentEnd)
		<-quiet
	}
}

// dial makes the clients. Each kind of traffic has its own connections, so that none waits behind another.
func (a *Agent) dial(token string) (err error) {
	for _, c := range []**client.Client{&a.control, &a.pulse, &a.logs} {
		if *c, err = a.client(token); err != nil {
			return err
		}
	}
	a.reports = client.NewReporter(a.control)
	return nil
}

func (a *Agent) client(token string) (*client.Client, error) {
	transport := a.transport
	if transport == nil {
		transport = a.pool()
	}
	return client.New(client.Config{
		URL:        a.cfg.URL,
		Token:      token,
		HTTPClient: &http.Client{Transport: transport},
		UserAgent:  "otto-agent/" + a.cfg.Version,
	})
}

func (a *Agent) pool() *http.Transport {
	pool := http.DefaultTransport.(*http.Transport).Clone()
	pool.TLSClientConfig = a.cfg.TLS.Clone()
	pool.MaxIdleConnsPerHost = a.cfg.Capacity + 1
	a.pools = append(a.pools, pool)
	return pool
}

func (a *Agent) hangUp() {
	if a.reports != nil {
		a.reports.Stop()
	}
	for _, pool := range a.pools {
		pool.CloseIdleConnections()
	}
}
