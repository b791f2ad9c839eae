package agent

import (
	"bytes"
	"slices"
	"time"

	"github.com/ottoci/otto/client"
)

// simAttempt is what really happened in an attempt, whatever the server was told.
type simAttempt struct {
	task   int64
	number int
	lease  *simLease
	node   *simNode
	output []byte
	steps  map[int]*simStep
}

const (
	// simNews is the longest way of news to an agent that can be reached: a heartbeat that hangs because its line was dead,
	// the pause after it, or else the interval between two; and the way there and back.
	simNews = simTTL/3 + simBeat/2 + simBeat + time.Second
	// simFence is the longest that work goes on after its lease was lost or the line to its agent healed, whichever is
	// later. For so long may two agents work on one task.
	simFence = simNews + keeperPatience
	// simObey is the same for an order to abort.
	simObey = simNews + simGrace + keeperPatience
	// simBlame is how long after a fault a lease may be lost for it.
	simBlame = 2*simTTL + simBeat
)

// well says since when an agent and the server could talk; false if they cannot. The caller holds the server's lock.
func (s *sim) well(n *simNode) (time.Time, bool) {
	l := n.link
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.badUntil
	if s.server.badUntil.After(since) {
		since = s.server.badUntil
	}
	return since, l.badSince.IsZero() && s.server.badSince.IsZero()
}

// judgeBegin: a step begins once in an attempt, after the one before it, and after the server has heard of the start. While the
// steps of one attempt run, those of another run only if one of the two has lost its lease and has not heard of it yet.
func (s *sim) judgeBegin(x *simStep, task int64, number int) *simAttempt {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	lease := s.server.machine.tasks[task-1].leases[number-1]
	if !lease.started || lease.agent != x.node.id {
		s.broke("step %d of task %d begins on agent %d, and attempt %d is not started by it", x.index, task, x.node.id, number)
	}
	if since, well := s.well(x.node); well && lease.end != "" && time.Since(lease.endedAt) > simFence && time.Since(since) > simFence {
		s.broke("step %d of task %d begins %s after its lease (%s), and %s after the last fault", x.index, task, time.Since(lease.endedAt), lease.end, time.Since(since))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps++
	at := s.attempts[lease.id]
	if at == nil {
		at = &simAttempt{task: task, number: number, lease: lease, node: x.node, steps: map[int]*simStep{}}
		s.attempts[lease.id] = at
	}
	if at.steps[x.index] != nil {
		s.brokeLocked("step %d of task %d begins twice in attempt %d", x.index, task, number)
	}
	for _, other := range s.running[task] {
		if other.attempt == at || other.attempt.lease.end == "" && lease.end == "" {
			s.brokeLocked("step %d of task %d begins in attempt %d while step %d of attempt %d runs", x.index, task, number, other.index, other.attempt.number)
		}
	}
	at.steps[x.index] = x
	s.running[task] = append(s.running[task], x)
	return at
}

// judgeEnd: who has lost his lease, or was told to stop, does so within the bound.
func (s *sim) judgeEnd(x *simStep) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	at, lease, now := x.attempt, x.attempt.lease, time.Now()
	s.mu.Lock()
	x.ended = true
	s.running[at.task] = slices.DeleteFunc(s.running[at.task], func(o *simStep) bool { return o == x })
	s.mu.Unlock()
	since, well := s.well(x.node)
	late := func(of time.Time, bound time.Duration) bool {
		return well && !of.IsZero() && now.Sub(of) > bound && now.Sub(since) > bound
	}
	if lease.end != "" && late(lease.endedAt, simFence) {
		s.broke("step %d of task %d ended %s after its lease (%s), and %s after the last fault", x.index, at.task, now.Sub(lease.endedAt), lease.end, now.Sub(since))
	}
	// An order to abort leaves steps marked always alone that run because of what went wrong before.
	told := lease.abort.Level == "kill" || !lease.task.spec.Steps[x.index].Always
	if told && x.began.Before(lease.abortAt) && late(lease.abortAt, simObey) {
		s.broke("step %d of task %d ended %s after the order to stop, and %s after the last fault", x.index, at.task, now.Sub(lease.abortAt), now.Sub(since))
	}
	if lease.end == "finished" {
		s.broke("step %d of task %d ended after its result", x.index, at.task)
	}
}

// holds says whether a step of an agent's program still runs.
func (s *sim) holds(a *Agent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, steps := range s.running {
		if slices.ContainsFunc(steps, func(x *simStep) bool { return x.agent == a }) {
			return true
		}
	}
	return false
}

// judgeLoss: a lease is lost only for a fault. The caller holds the server's lock.
func (s *sim) judgeLoss(l *simLease, why string) {
	n := s.nodes[l.agent-1]
	since, well := s.well(n)
	s.mu.Lock()
	s.lost[why]++
	for _, x := range s.running[l.task.id] {
		if why == "expired" && l.task.spec.OnLost == lostFails && !x.stuck {
			s.brokeLocked("step %d of task %d runs while the server gives the task up for good", x.index, l.task.id)
		}
	}
	s.mu.Unlock()
	blame := simBlame
	switch why {
	case "not_started":
		blame += simStart
	case "overdue":
		blame += 10 * time.Minute
	}
	n.mu.Lock()
	changed := n.going || n.since.After(l.grantedAt)
	n.mu.Unlock()
	if s.noLoss || !changed && well && time.Since(since) > blame {
		s.broke("the lease of attempt %d of task %d is lost (%s) on agent %d without a fault in %s", l.epoch, l.task.id, why, l.agent, time.Since(since))
	}
}

// judgeResult: a result says what the steps came to. The caller holds the server's lock.
func (s *sim) judgeResult(l *simLease, result client.LeaseFinish) {
	s.mu.Lock()
	at := s.attempts[l.id]
	s.mu.Unlock()
	for i, report := range result.Steps {
		var x *simStep
		if at != nil {
			x = at.steps[i]
		}
		switch {
		case x == nil:
			if report.State != client.Skipped {
				s.broke("step %d of task %d is reported %s, and did not run", i, l.task.id, report.State)
			}
		case !x.ended:
			s.broke("step %d of task %d is reported %s, and still runs", i, l.task.id, report.State)
		case x.err == nil && (report.ExitCode == nil || *report.ExitCode != x.ending.exitCode()):
			s.broke("step %d of task %d is reported %+v, and was %+v", i, l.task.id, report, x.ending)
		case (report.State == client.Succeeded) != (x.err == nil && x.ending.exitCode() == 0):
			s.broke("step %d of task %d is reported %s, and was %+v, %v", i, l.task.id, report.State, x.ending, x.err)
		}
	}
}

// wrote notes output before the agent has it.
func (s *sim) wrote(at *simAttempt, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at.output = append(at.output, b...)
}

// judgePrefix: what the server has of a log is how it began. The caller holds the server's lock.
func (s *sim) judgePrefix(l *simLease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.attempts[l.id]
	if len(l.output) > 0 && (at == nil || !bytes.HasPrefix(at.output, l.output)) {
		s.brokeLocked("the log of attempt %d of task %d is not what its steps wrote", l.epoch, l.task.id)
	}
}

// judgeLogs: in the end a log is whole, unless its agent ended before it had sent it; and a task has one result.
func (s *sim) judgeLogs() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	for _, t := range s.server.machine.tasks {
		if ended := len(t.leases) > 0 && t.leases[len(t.leases)-1].end == "finished"; t.results > 1 || t.results == 1 != ended {
			s.broke("task %d has %d results", t.id, t.results)
		}
		for _, l := range t.leases {
			s.judgeLog(l)
		}
	}
}

func (s *sim) judgeLog(l *simLease) {
	at := s.attempts[l.id]
	if l.total == nil {
		return
	}
	bytesIn := int64(0)
	for _, c := range l.chunks {
		bytesIn += int64(len(c))
	}
	switch {
	case len(l.chunks) < l.total.Chunks:
		if s.nodes[l.agent-1].since.Before(l.endedAt) {
			s.broke("the log of attempt %d of task %d has %d of %d chunks", l.epoch, l.task.id, len(l.chunks), l.total.Chunks)
		}
	case len(l.chunks) > l.total.Chunks, bytesIn != l.total.Bytes, l.sum() != l.total.SHA256:
		s.broke("the log of attempt %d of task %d has %d bytes, not the %d that it should have", l.epoch, l.task.id, bytesIn, l.total.Bytes)
	case at != nil && !bytes.Equal(at.output, l.output):
		s.broke("the log of attempt %d of task %d lacks output: %d bytes of %d", l.epoch, l.task.id, len(l.output), len(at.output))
	}
}
