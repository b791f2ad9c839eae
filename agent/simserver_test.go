package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ottoci/otto/client"
)

// simServer is an API node with its workers, around a machine.
type simServer struct {
	sim    *sim
	unzip  *zstd.Decoder
	single bool // it is older than lease-report

	mu       sync.Mutex
	machine  simMachine
	changed  chan struct{} // closed and replaced when there may be work or an order
	waiters  map[int]*simWaiter
	told     map[string]time.Time // news by lease and level; zero if its answer was lost
	health   simHealth
	idle     bool            // the workers are away
	life     context.Context // of the process that answers now
	die      context.CancelFunc
	badSince time.Time // zero while it is well
	badUntil time.Time
	beats    map[int][]time.Time // heartbeats that arrived, if not nil
	arrived  func(agent int, op string)
}

// simWaiter is a held request for work.
type simWaiter struct {
	free     int
	counting int64
	replaced chan struct{}
}

// simHealth is how a server meets requests.
type simHealth int

const (
	simWell   simHealth = iota
	simRefuse           // nobody listens
	simSilent           // packets vanish
	simSick             // 503: the database is away
)

func newSimServer(s *sim) *simServer {
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	v := &simServer{sim: s, unzip: unzip, changed: make(chan struct{}), waiters: map[int]*simWaiter{}, told: map[string]time.Time{}}
	v.machine = simMachine{agents: map[int]*simAgent{}, leases: map[string]*simLease{}, broke: s.broke, taken: s.judgeLoss}
	v.life, v.die = context.WithCancel(s.ctx)
	v.machine.beat()
	return v
}

// ail changes how the server meets requests. What it was answering dies with it.
func (v *simServer) ail(h simHealth) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.health
	v.health = h
	switch {
	case h == simWell:
		v.badUntil, v.badSince = time.Now(), time.Time{}
	case was == simWell:
		v.badSince = time.Now()
	}
	v.die()
	v.life, v.die = context.WithCancel(v.sim.ctx)
	v.told = map[string]time.Time{}
	if h == simWell {
		v.machine.beat()
	}
}

// loops are the server's heartbeat and the periodic jobs.
func (v *simServer) loops() {
	every := func(d time.Duration, do func()) {
		v.sim.group.Go(func() {
			for sleep(v.sim.ctx, d) {
				v.mu.Lock()
				do()
				v.mu.Unlock()
			}
		})
	}
	every(simServerBeat, func() {
		if v.health == simWell {
			v.machine.beat()
		}
	})
	every(simReap, func() {
		if !v.idle && v.health != simSick {
			v.machine.judge()
			v.notify()
		}
	})
	every(simReconcile, func() {
		if !v.idle && v.health != simSick {
			v.machine.reconcile()
		}
	})
}

// notify wakes the held requests. The caller holds the lock.
func (v *simServer) notify() {
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *simServer) locked(do func(*simMachine)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	do(&v.machine)
	v.notify()
}

var errSimDied = errors.New("the server died while it answered")

// serve answers a request. An error means that no answer comes.
func (v *simServer) serve(ctx context.Context, agent int, path string, body []byte) (int, any, error) {
	v.mu.Lock()
	life := v.life
	v.mu.Unlock()
	if path == "/v1/agent/lease" {
		answer, err := v.take(ctx, life, agent, simDecode[client.LeaseRequest](body))
		return 200, answer, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	m := &v.machine
	switch path {
	case "/v1/agent/hello":
		m.hello(agent, simDecode[client.AgentOffer](body).Capacity)
		v.notify()
		return 200, client.AgentWelcome{Settings: client.AgentSettings{
			LeaseTTLMS: simTTL.Milliseconds(), HeartbeatMS: simBeat.Milliseconds(), GraceMS: simGrace.Milliseconds(), ChunkBytes: 64 << 10,
			Protocol: []string{"log-zstd", client.ProtocolCounting}}}, nil
	case "/v1/agent/bye":
		m.bye(agent)
		v.notify()
		return 204, nil, nil
	case "/v1/agent/heartbeat":
		if v.beats != nil {
			v.beats[agent] = append(v.beats[agent], time.Now())
		}
		return 200, m.renew(agent, simDecode[client.Heartbeat](body)), nil
	case "/v1/agent/reports":
		if v.single {
			return 404, &client.Error{Status: 404, Detail: "no such operation"}, nil
		}
		return 200, v.reports(agent, simDecode[client.LeaseReports](body)), nil
	}
	parts := strings.SplitN(strings.TrimPrefix(path, "/v1/leases/"), "/", 2)
	status, answer := v.report(agent, parts[0], parts[1], body)
	if parts[1] == "finish" || parts[1] == "release" {
		v.notify()
	}
	return status, answer, nil
}

// report answers a request about one lease.
func (v *simServer) report(agent int, lease, verb string, body []byte) (int, any) {
	var refusal *client.Error
	switch verb {
	case "start":
		refusal = v.machine.start(lease, simDecode[client.LeaseStart](body).Epoch, agent)
	case "steps":
		_, refusal = v.machine.held(lease, simDecode[client.StepReports](body).Epoch, agent)
	case "finish":
		var state client.LeaseState
		if state, refusal = v.finish(agent, lease, simDecode[client.LeaseFinish](body)); refusal == nil {
			return 200, state
		}
	case "release":
		refusal = v.machine.release(agent, lease, simDecode[client.LeaseRelease](body))
	case "log/frames":
		chunks, err := client.ReadLogFrames(body)
		if err != nil {
			panic(err)
		}
		return v.log(agent, lease, chunks)
	case "log":
		return v.log(agent, lease, []client.LogChunk{simDecode[client.LogChunk](body)})
	default:
		panic("no such operation: " + verb)
	}
	if refusal != nil {
		return refusal.Status, refusal
	}
	return 200, client.LeaseState{ID: lease}
}

// finish takes a result. The request for work that the agent holds may count the slot as free from now on.
func (v *simServer) finish(agent int, lease string, result client.LeaseFinish) (client.LeaseState, *client.Error) {
	l := v.machine.leases[lease]
	first := l != nil && l.end == ""
	refusal := v.machine.finish(agent, lease, result)
	if refusal != nil {
		return client.LeaseState{}, refusal
	}
	if first {
		v.sim.judgeResult(l, result)
	}
	state := client.LeaseState{ID: lease, Task: l.task.id, State: l.task.state}
	if w := v.waiters[agent]; w != nil && w.counting != 0 {
		w.free++
		state.Counted = w.counting
	}
	return state, nil
}

func (v *simServer) log(agent int, lease string, chunks []client.LogChunk) (int, any) {
	next, refusal := v.append(agent, lease, chunks)
	if refusal != nil {
		return refusal.Status, refusal
	}
	return 200, client.LogAck{Next: next}
}

func (v *simServer) append(agent int, lease string, chunks []client.LogChunk) (int, *client.Error) {
	raw := make([][]byte, len(chunks))
	for i, c := range chunks {
		raw[i] = c.Data
		if c.Encoding == "zstd" {
			var err error
			if raw[i], err = v.unzip.DecodeAll(c.Data, nil); err != nil {
				panic(err)
			}
		}
	}
	next, refusal := v.machine.appendLog(agent, lease, chunks, raw)
	if l := v.machine.leases[lease]; refusal == nil {
		v.sim.judgePrefix(l)
	}
	return next, refusal
}

func (v *simServer) reports(agent int, in client.LeaseReports) (out client.LeaseReportsAnswer) {
	for _, r := range in.Starts {
		out.Starts = append(out.Starts, client.LeaseResult{Problem: v.machine.start(r.Lease, r.Epoch, agent)})
	}
	for _, r := range in.Logs {
		next, problem := v.append(agent, r.Lease, []client.LogChunk{r.LogChunk})
		out.Logs = append(out.Logs, client.LeaseLogResult{ID: r.Lease, LogAck: client.LogAck{Next: next}, Problem: problem})
	}
	if len(in.Finishes) > 0 {
		defer v.notify()
	}
	for _, r := range in.Finishes {
		state, problem := v.finish(agent, r.Lease, r.LeaseFinish)
		out.Finishes = append(out.Finishes, client.LeaseResult{LeaseState: state, Problem: problem})
	}
	return out
}

// take holds a request for work, like the dispatcher of an API node.
func (v *simServer) take(ctx, life context.Context, agent int, request client.LeaseRequest) (client.LeaseAnswer, error) {
	me := &simWaiter{free: request.Free, counting: request.Counting, replaced: make(chan struct{})}
	v.mu.Lock()
	if old := v.waiters[agent]; old != nil {
		close(old.replaced)
	}
	v.waiters[agent] = me
	v.mu.Unlock()
	defer v.leave(agent, me)
	wait := time.NewTimer(milliseconds(request.WaitMS))
	defer wait.Stop()
	for {
		v.mu.Lock()
		changed := v.changed
		answer := v.look(agent, me.free, life)
		v.mu.Unlock()
		if len(answer.Leases)+len(answer.Aborts) > 0 {
			return answer, nil
		}
		poll := time.NewTimer(5 * time.Second)
		select {
		case <-changed:
		case <-poll.C:
		case <-wait.C:
			return answer, nil
		case <-me.replaced:
			answer.RetryAfterMS = 1000
			return answer, nil
		case <-ctx.Done():
			return answer, ctx.Err()
		case <-life.Done():
			return answer, errSimDied
		}
		poll.Stop()
	}
}

func (v *simServer) leave(agent int, me *simWaiter) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.waiters[agent] == me {
		delete(v.waiters, agent)
	}
}

// look finds what an agent does not know yet: orders, leases that it has not begun, and new ones.
func (v *simServer) look(agent, free int, life context.Context) client.LeaseAnswer {
	answer := client.LeaseAnswer{Leases: []client.Lease{}, Aborts: []client.Abort{}}
	if life.Err() != nil {
		return answer
	}
	for _, l := range v.machine.open(agent) {
		if !l.abortAt.IsZero() && v.due(l.id+l.abort.Level, l.abortAt) {
			answer.Aborts = append(answer.Aborts, l.abort)
		}
		if !l.started && v.due(l.id, l.grantedAt) {
			answer.Leases = append(answer.Leases, l.wire())
		}
	}
	for _, l := range v.machine.lease(agent, free) {
		v.told[l.id] = time.Now()
		answer.Leases = append(answer.Leases, l.wire())
	}
	return answer
}

// due says whether an agent is to be told of something, and notes that it is.
func (v *simServer) due(news string, since time.Time) bool {
	at, told := v.told[news]
	if !told && time.Since(since) < 2*time.Second && !strings.HasSuffix(news, "abort") && !strings.HasSuffix(news, "kill") {
		return false
	}
	if told && time.Since(at) <= 5*time.Second {
		return false
	}
	v.told[news] = time.Now()
	return true
}

func simDecode[T any](body []byte) (out T) {
	if err := json.Unmarshal(body, &out); err != nil {
		panic(fmt.Sprintf("%T: %v", out, err))
	}
	return out
}
