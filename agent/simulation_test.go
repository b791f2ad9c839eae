package agent

import (
	"context"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/client"
)

type dice = rand.Rand

// sim is a server, its agents and the lines between them, in virtual time: the real agents and their real clients, with
// steps, network and server made up. It runs inside a bubble of synctest. All that is random comes from the seed.
type sim struct {
	t     *testing.T
	seed  uint64
	began time.Time
	dir   string
	zip   *zstd.Encoder

	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
	server *simServer
	nodes  []*simNode

	mu       sync.Mutex
	attempts map[string]*simAttempt // by lease
	running  map[int64][]*simStep   // by task
	schedule []string               // what went wrong on purpose
	broken   []string
	requests int // that were answered
	steps    int
	lost     map[string]int // leases taken away, by reason
	noLoss   bool           // nothing may be taken away
	settled  time.Duration  // from the end of the faults to the last result
}

// simNode is a machine with an agent, which may live several times.
type simNode struct {
	sim      *sim
	id       int
	capacity int
	drain    time.Duration
	link     *simLink

	mu    sync.Mutex
	life  int
	agent *Agent
	gone  context.CancelFunc
	done  chan struct{} // closed when Run has returned
	since time.Time     // when the latest change of lives began
	going bool          // that change is under way
}

// newSim makes a server and agents that do not run yet. It is called inside a bubble.
func newSim(t *testing.T, seed uint64, agents int) *sim {
	s := &sim{t: t, seed: seed, began: time.Now(), dir: t.TempDir(), attempts: map[string]*simAttempt{}, running: map[int64][]*simStep{}, lost: map[string]int{}}
	var err error
	if s.zip, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64<<10), zstd.WithEncoderLevel(zstd.SpeedFastest)); err != nil {
		t.Fatal(err)
	}
	s.ctx, s.cancel = context.WithCancel(t.Context())
	s.server = newSimServer(s)
	s.server.loops()
	for id := 1; id <= agents; id++ {
		n := &simNode{sim: s, id: id, capacity: 2, drain: 2 * time.Minute, since: time.Now()}
		n.link = &simLink{sim: s, agent: id, changed: make(chan struct{}), count: map[string]int{}}
		s.nodes = append(s.nodes, n)
	}
	return s
}

// luck gives the dice for one thing: whatever happens elsewhere, they fall the same.
func (s *sim) luck(what string, keys ...uint64) *dice {
	h := simHash(what) ^ s.seed*0x9e3779b97f4a7c15
	for _, k := range keys {
		h = (h ^ k) * 0xff51afd7ed558ccd
		h ^= h >> 32
	}
	return rand.New(rand.NewPCG(s.seed, h)) //nolint:gosec // repeatable on purpose
}

func simHash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}

// broke notes that a promise was broken.
func (s *sim) broke(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brokeLocked(format, args...)
}

// brokeLocked is broke for those that hold the lock.
func (s *sim) brokeLocked(format string, args ...any) {
	s.broken = append(s.broken, s.at()+" "+fmt.Sprintf(format, args...))
}

// plan notes what goes wrong on purpose.
func (s *sim) plan(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedule = append(s.schedule, s.at()+" "+fmt.Sprintf(format, args...))
}

func (s *sim) at() string { return fmt.Sprintf("%9.3fs", time.Since(s.began).Seconds()) }

// answered counts a request.
func (s *sim) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
}

// boot starts an agent's program for its life of this number, unless that has been lived.
func (n *simNode) boot(life int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.life >= life || n.sim.ctx.Err() != nil {
		return
	}
	n.life, n.going = life, false
	n.since = time.Now()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("OTTO_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(n.sim.t.Output(), nil)).With("agent", n.id, "life", n.life)
	}
	a, err := New(Config{
		Engine: engine.Config{Host: NoEngine},
		URL:    "http://otto.example", Token: "otto_agent_secret", Name: fmt.Sprint("a", n.id), Version: "test", Capacity: n.capacity,
		WorkDir: filepath.Join(n.sim.dir, fmt.Sprintf("a%d.%d", n.id, n.life)), DrainTimeout: n.drain, Shared: true, Log: log,
	})
	if err != nil {
		n.sim.t.Error(err)
		return
	}
	var gone context.Context
	gone, n.gone = context.WithCancel(n.sim.ctx)
	luck := n.sim.luck("jitter", uint64(n.id), uint64(n.life))
	var mu sync.Mutex
	a.jitter = func(span time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(luck.Int64N(int64(span)))
	}
	a.transport = simTrip{n.link, gone}
	a.launch = n.launch(a, gone.Done())
	a.zip = n.sim.zip
	a.spare.closed = true // no keeper is started
	done := make(chan struct{})
	n.agent, n.done = a, done
	n.sim.group.Go(func() {
		defer close(done)
		if err := a.Run(context.Background()); err != nil {
			n.sim.broke("agent %d ended by itself: %v", n.id, err)
		}
	})
}

// crash kills an agent's program at once, and starts it again: nothing that the old one still does has any effect.
func (n *simNode) crash() {
	n.mu.Lock()
	life := n.life
	n.gone()
	n.sim.group.Go(n.agent.Stop)
	n.mu.Unlock()
	n.boot(life + 1)
}

// renew ends an agent's program in good order, and starts it again, unless somebody kills it meanwhile.
func (n *simNode) renew(stop bool) {
	n.mu.Lock()
	life := n.life
	n.mu.Unlock()
	n.sim.group.Go(func() {
		n.leave(stop)
		n.boot(life + 1)
	})
}

// leave ends an agent's program as a person would, and waits for it. It must not take longer than it says.
func (n *simNode) leave(stop bool) {
	n.mu.Lock()
	a, done, bound := n.agent, n.done, keeperPatience+stopTimeout+5*time.Second+time.Second
	n.since, n.going = time.Now(), true
	n.mu.Unlock()
	began := time.Now()
	if stop {
		a.Stop()
	} else {
		bound += n.drain
		a.Drain()
		<-done
	}
	if took := time.Since(began); took > bound {
		n.sim.broke("agent %d needed %s to end, more than %s", n.id, took, bound)
	}
	if n.sim.holds(a) {
		n.sim.broke("agent %d ended while a step of it runs", n.id)
	}
}

// submit adds a task, ready to be leased.
func (s *sim) submit(spec client.TaskSpec) *simTask {
	var t *simTask
	s.server.locked(func(m *simMachine) {
		t = &simTask{id: int64(len(m.tasks) + 1), spec: spec, state: client.Ready}
		m.tasks = append(m.tasks, t)
	})
	return t
}

// unfinished are the tasks that have no result yet.
func (s *sim) unfinished() (list []string) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	for _, t := range s.server.machine.tasks {
		if !t.final() {
			list = append(list, fmt.Sprintf("%d %s", t.id, t.state))
		}
	}
	return list
}

// settle waits until all tasks have ended, and all logs that can come have come.
func (s *sim) settle(bound time.Duration) {
	began := time.Now()
	for len(s.unfinished()) > 0 {
		if time.Since(began) > bound {
			s.broke("not over %s after the faults: tasks %s", bound, strings.Join(s.unfinished(), ", "))
			break
		}
		elapse(time.Second)
	}
	s.settled = time.Since(began)
	for s.logsToCome() && time.Since(began) < bound {
		elapse(time.Second)
	}
}

// logsToCome says whether the server waits for more of any log.
func (s *sim) logsToCome() bool {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	for _, l := range s.server.machine.leases {
		if l.end != "" && l.logEnd.IsZero() {
			return true
		}
	}
	return false
}

// end ends everything, and fails the test if a promise was broken.
func (s *sim) end() {
	s.judgeLogs()
	var leaving sync.WaitGroup
	for _, n := range s.nodes {
		if n.agent != nil {
			leaving.Go(func() { n.leave(false) })
		}
	}
	leaving.Wait()
	s.cancel()
	s.group.Wait()
	_ = s.zip.Close()
	s.server.unzip.Close()
	s.verdict()
}

func (s *sim) verdict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.broken) == 0 {
		return
	}
	s.t.Errorf("seed %d: %d promises broken\n%s\nwhat went wrong on purpose:\n%s\nagain: GOMAXPROCS=1 OTTO_SIM_SEED=%d go test ./agent -run '%s'",
		s.seed, len(s.broken), strings.Join(s.broken[:min(len(s.broken), 20)], "\n"), strings.Join(s.schedule, "\n"), s.seed,
		strings.Split(s.t.Name(), "/")[0])
}
