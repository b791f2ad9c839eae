package agent

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/ottoci/otto/client"
)

// The server's half of leases again, in plain Go: what transitions/*.sql says of granting, renewing, judging and ending
// them, in virtual time. All methods are called with the server's lock held.

// The settings of a fresh database, and how often servers and workers look.
const (
	simTTL        = 30 * time.Second
	simBeat       = 10 * time.Second
	simStart      = 60 * time.Second
	simGrace      = 10 * time.Second
	simSilence    = 60 * time.Second
	simLogSilence = 10 * time.Minute
	simInterrupts = 3
	simServerBeat = 3 * time.Second
	simReap       = 5 * time.Second
	simReconcile  = 20 * time.Second
)

type simTask struct {
	id         int64
	spec       client.TaskSpec
	state      string
	reason     string
	epoch      int
	interrupts int
	results    int
	lease      *simLease // nil unless an attempt is under way
	leases     []*simLease
}

type simLease struct {
	id        string
	task      *simTask
	agent     int
	epoch     int
	grantedAt time.Time
	expiresAt time.Time
	deadline  time.Time // none if zero
	started   bool
	endedAt   time.Time
	end       string // why it ended; empty while it is open
	abortAt   time.Time
	abort     client.Abort

	chunks [][]byte // raw
	output []byte   // the steps' part of them
	total  *client.LogTotal
	logAt  time.Time // of the last chunk
	logEnd time.Time // nothing more is taken; zero before
}

type simAgent struct {
	state    string
	capacity int
	seen     time.Time
}

type simMachine struct {
	agents    map[int]*simAgent
	tasks     []*simTask
	leases    map[string]*simLease
	judgeFrom time.Time
	served    time.Time // when an API node was last heard of
	grants    int
	broke     func(format string, args ...any)
	taken     func(*simLease, string) // told of each lease that is taken away, before it is
}

func (m *simMachine) live() bool { return time.Since(m.served) < (simTTL-simBeat)/2 }

// beat is server_beat.
func (m *simMachine) beat() {
	if !m.live() {
		m.judgeFrom = time.Now().Add(simTTL)
	}
	m.served = time.Now()
}

// hello is agent_hello: the program knows nothing of the leases of its life before.
func (m *simMachine) hello(agent, capacity int) {
	m.lose(agent)
	m.agents[agent] = &simAgent{state: "online", capacity: capacity, seen: time.Now()}
}

func (m *simMachine) bye(agent int) {
	if a := m.agents[agent]; a != nil && a.state != "offline" {
		a.state = "offline"
		m.lose(agent)
	}
}

func (m *simMachine) open(agent int) (list []*simLease) {
	for _, t := range m.tasks {
		if t.lease != nil && t.lease.agent == agent {
			list = append(list, t.lease)
		}
	}
	return list
}

func (m *simMachine) lose(agent int) {
	for _, l := range m.open(agent) {
		m.interrupt(l, "agent_gone")
	}
}

// lease is task_lease, for one agent.
func (m *simMachine) lease(agent, free int) (granted []*simLease) {
	a := m.agents[agent]
	if a == nil || a.state != "online" {
		return nil
	}
	room := min(free, a.capacity-len(m.open(agent)))
	for _, t := range m.tasks {
		if len(granted) >= room {
			break
		}
		if t.state != client.Ready {
			continue
		}
		m.grants++
		t.epoch++
		t.state = "scheduled"
		t.lease = &simLease{
			id: fmt.Sprintf("00000000-0000-4000-8000-%012x", m.grants), task: t, agent: agent, epoch: t.epoch,
			grantedAt: time.Now(), expiresAt: time.Now().Add(simTTL),
		}
		t.leases = append(t.leases, t.lease)
		m.leases[t.lease.id] = t.lease
		granted = append(granted, t.lease)
	}
	return granted
}

func (l *simLease) wire() client.Lease {
	return client.Lease{ID: l.id, Epoch: l.epoch, Task: l.task.id, Run: 1, Project: "p", Stage: "s", Spec: l.task.spec}
}

// held is task_held: it finds a lease that still holds its task, or refuses.
func (m *simMachine) held(id string, epoch, agent int) (*simLease, *client.Error) {
	l := m.leases[id]
	switch {
	case l == nil:
		return nil, &client.Error{Status: 404, Detail: "no such lease"}
	case l.agent != agent:
		return nil, &client.Error{Status: 403, Detail: "another agent's lease"}
	case l.epoch != epoch || l.end != "":
		return nil, &client.Error{Status: 409, Code: client.CodeFenced, Detail: "attempt is over: " + l.end}
	}
	return l, nil
}

func (m *simMachine) start(id string, epoch, agent int) *client.Error {
	l, refusal := m.held(id, epoch, agent)
	if refusal == nil && !l.started {
		l.started = true
		l.task.state = client.Running
		l.deadline = time.Now().Add(milliseconds(l.task.spec.TimeoutMS) + 10*time.Minute)
	}
	return refusal
}

// renew is lease_renew, with the answer that the API makes of it.
func (m *simMachine) renew(agent int, beat client.Heartbeat) client.HeartbeatAnswer {
	answer := client.HeartbeatAnswer{Aborts: []client.Abort{}, Fenced: []string{}}
	if a := m.agents[agent]; a != nil {
		a.seen, a.state = time.Now(), map[bool]string{false: "online", true: "draining"}[beat.Draining]
	}
	for _, id := range beat.Leases {
		l := m.leases[id]
		switch {
		case l == nil || l.agent != agent || l.end != "":
			answer.Fenced = append(answer.Fenced, id)
			continue
		case !l.abortAt.IsZero():
			answer.Aborts = append(answer.Aborts, l.abort)
		}
		l.expiresAt = time.Now().Add(simTTL)
	}
	return answer
}

// finish is task_finish.
func (m *simMachine) finish(agent int, id string, result client.LeaseFinish) *client.Error {
	if l := m.leases[id]; l != nil && l.end == "finished" && l.agent == agent && l.epoch == result.Epoch {
		return nil
	}
	l, refusal := m.held(id, result.Epoch, agent)
	if refusal != nil {
		return refusal
	}
	worst := result.Outcome
	severity := []string{"", client.Skipped, client.Succeeded, client.Unstable, client.Aborted, client.Failed}
	for _, step := range result.Steps {
		if slices.Index(severity, step.State) > slices.Index(severity, worst) {
			worst = step.State
		}
	}
	m.close(l, "finished", &result.Log)
	m.settle(l.task, worst, result.Reason)
	l.task.results++
	return nil
}

func (m *simMachine) settle(t *simTask, state, reason string) {
	if t.final() {
		m.broke("task %d ended twice: %s, then %s", t.id, t.state, state)
	}
	t.state, t.reason = state, reason
}

func (t *simTask) final() bool {
	return slices.Contains([]string{client.Succeeded, client.Unstable, client.Aborted, client.Failed, client.Skipped}, t.state)
}

// close is leases_end.
func (m *simMachine) close(l *simLease, why string, total *client.LogTotal) {
	l.end, l.endedAt, l.total, l.task.lease = why, time.Now(), total, nil
	if total == nil || total.Chunks <= len(l.chunks) {
		l.logEnd = time.Now()
	}
}

func (m *simMachine) release(agent int, id string, request client.LeaseRelease) *client.Error {
	if l := m.leases[id]; l != nil && l.end == "released" && l.agent == agent && l.epoch == request.Epoch {
		return nil
	}
	l, refusal := m.held(id, request.Epoch, agent)
	if refusal == nil {
		m.take(l, "released", &request.Log)
	}
	return refusal
}

// interrupt is task_interrupt.
func (m *simMachine) interrupt(l *simLease, why string) {
	m.taken(l, why)
	m.take(l, why, nil)
}

// take is task_take: it ends an attempt that its agent does not finish, and decides what follows.
func (m *simMachine) take(l *simLease, why string, total *client.LogTotal) {
	t, end := l.task, "interrupted"
	switch why {
	case "released":
		end = "released"
	case "unconfirmed":
		end = client.Aborted
	}
	m.close(l, end, total)
	switch {
	case !l.abortAt.IsZero():
		m.settle(t, client.Aborted, why)
	case why == "overdue" || l.started && (t.interrupts >= simInterrupts || t.spec.OnLost == lostFails):
		m.settle(t, client.Failed, why)
	default:
		t.state = client.Ready
		if l.started {
			t.interrupts++
		}
	}
}

// abort is task_abort: a second one kills.
func (m *simMachine) abort(t *simTask) {
	switch {
	case t.final():
	case t.state == client.Running:
		level := "abort"
		if !t.lease.abortAt.IsZero() {
			level = "kill"
		}
		t.lease.abortAt, t.lease.abort = time.Now(), client.Abort{Lease: t.lease.id, Level: level, Reason: "aborted by ana"}
	default:
		if t.lease != nil {
			m.close(t.lease, client.Aborted, nil)
		}
		m.settle(t, client.Aborted, "aborted by ana")
	}
}

// judge is what the job lease_expire does: lease_judge, then task_interrupt.
func (m *simMachine) judge() {
	now := time.Now()
	may := !m.judgeFrom.After(now) && m.live()
	for _, t := range m.tasks {
		l := t.lease
		if l == nil {
			continue
		}
		a := m.agents[l.agent]
		expired := l.expiresAt.Before(now)
		switch {
		case a == nil || a.state == "offline":
			m.interrupt(l, "agent_gone")
		case !may:
		case !l.abortAt.IsZero() && expired && l.abortAt.Add(simSilence).Before(now):
			m.interrupt(l, "unconfirmed")
		case !l.deadline.IsZero() && l.deadline.Before(now):
			m.interrupt(l, "overdue")
		case !l.started && l.grantedAt.Add(simStart).Before(now):
			m.interrupt(l, "not_started")
		case expired && l.abortAt.IsZero():
			m.interrupt(l, "expired")
		}
	}
}

// reconcile is agents_forget and log_give_up.
func (m *simMachine) reconcile() {
	now := time.Now()
	if m.judgeFrom.After(now) || !m.live() {
		return
	}
	for _, a := range m.agents {
		if a.state != "offline" && now.Sub(a.seen) > 3*simTTL {
			a.state = "offline"
		}
	}
	for _, l := range m.leases {
		last := slices.MaxFunc([]time.Time{l.endedAt, m.judgeFrom, l.logAt}, time.Time.Compare)
		if l.end != "" && l.logEnd.IsZero() && now.Sub(last) > simLogSilence {
			l.logEnd = now
		}
	}
}

// appendLog is log_append for chunks that follow each other: all or none.
func (m *simMachine) appendLog(agent int, id string, chunks []client.LogChunk, raw [][]byte) (int, *client.Error) {
	l := m.leases[id]
	fenced := &client.Error{Status: 409, Code: client.CodeFenced, Detail: "attempt is over"}
	for i, c := range chunks {
		if l == nil || l.agent != agent || l.epoch != c.Epoch {
			return 0, fenced
		}
		switch {
		case c.Seq == len(l.chunks) && l.logEnd.IsZero():
			l.chunks, l.logAt = append(l.chunks, raw[i]), time.Now()
			l.output = append(l.output, outputIn(c, raw[i])...)
			if l.total != nil && len(l.chunks) >= l.total.Chunks {
				l.logEnd = time.Now()
			}
		case l.end != "" && l.end != "finished" && l.end != "released", !l.logEnd.IsZero() && c.Seq >= len(l.chunks):
			return 0, fenced
		case c.Seq < len(l.chunks) && !bytes.Equal(l.chunks[c.Seq], raw[i]):
			m.broke("chunk %d of attempt %d of task %d came again with other bytes", c.Seq, l.epoch, l.task.id)
		}
	}
	return len(l.chunks), nil
}

// outputIn is what the steps wrote, of what a chunk holds.
func outputIn(c client.LogChunk, raw []byte) (out []byte) {
	for _, segment := range c.Segments {
		if segment.Kind == client.SegmentStdout {
			out = append(out, raw[:segment.Bytes]...)
		}
		raw = raw[segment.Bytes:]
	}
	return out
}

// sum is the SHA-256 of the log as far as it came.
func (l *simLease) sum() string {
	h := sha256.New()
	for _, c := range l.chunks {
		h.Write(c)
	}
	return hex.EncodeToString(h.Sum(nil))
}
