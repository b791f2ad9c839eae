package agent

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ottoci/otto/client"
)

// simEvent is something that happens to the world at a time.
type simEvent struct {
	at   time.Duration
	what string
	do   func()
}

// simFaulty is for how long things go wrong and work arrives.
const simFaulty = 45 * time.Minute

// chaos draws what goes wrong, and the load.
func (s *sim) chaos() []simEvent {
	luck := s.luck("chaos")
	var events []simEvent
	add := func(at time.Duration, what string, do func()) { events = append(events, simEvent{at, what, do}) }
	when := func() time.Duration { return time.Duration(luck.Int64N(int64(simFaulty))) }
	for range 30 + luck.IntN(40) {
		at, spec := when(), simSpec(luck)
		var task *simTask
		add(at, "", func() { task = s.submit(spec) })
		if luck.IntN(6) == 0 {
			for range 1 + luck.IntN(2) {
				at += time.Duration(luck.Int64N(int64(2 * time.Minute)))
				add(at, "a task is aborted", func() { s.server.locked(func(m *simMachine) { m.abort(task) }) })
			}
		}
	}
	for range luck.IntN(14) {
		s.misfortune(luck, when(), add)
	}
	slices.SortStableFunc(events, func(a, b simEvent) int { return int(a.at - b.at) })
	return events
}

// misfortune draws one fault, and the time at which it is over.
func (s *sim) misfortune(luck *dice, at time.Duration, add func(time.Duration, string, func())) {
	n := s.nodes[luck.IntN(len(s.nodes))]
	lasts := []time.Duration{5 * time.Second, 20 * time.Second, time.Minute, 3 * time.Minute, 6 * time.Minute}[luck.IntN(5)]
	lasts += time.Duration(luck.Int64N(int64(lasts)))
	over := min(at+lasts, simFaulty)
	line := func(what string, mode simMode, only string) {
		add(at, fmt.Sprintf("the line of agent %d %s for %s %s", n.id, what, lasts, only), func() { n.link.set(mode, only, false) })
		add(over, fmt.Sprintf("the line of agent %d is well", n.id), func() { n.link.set(simOpen, "", false) })
	}
	server := func(what string, h simHealth) {
		add(at, fmt.Sprintf("the server %s for %s", what, lasts), func() { s.server.ail(h) })
		add(over, "the server is well", func() { s.server.ail(simWell) })
	}
	only := []string{"", "", "", "heartbeat", "lease", "reports", "frames", "steps"}[luck.IntN(8)]
	switch luck.IntN(12) {
	case 0:
		line("is cut", simCut, only)
	case 1:
		line("is silent", simHole, only)
	case 2:
		line("loses answers", simDeaf, only)
	case 3:
		line("is clogged", simClog, only)
	case 4, 5:
		add(at, fmt.Sprintf("the line of agent %d is noisy for %s", n.id, lasts), func() { n.link.set(simOpen, "", true) })
		add(over, fmt.Sprintf("the line of agent %d is well", n.id), func() { n.link.set(simOpen, "", false) })
	case 6:
		server("is down", simRefuse)
	case 7:
		server("is silent", simSilent)
	case 8:
		server("has no database", simSick)
	case 9:
		add(at, fmt.Sprintf("the workers are away for %s", lasts), func() { s.server.locked(func(*simMachine) { s.server.idle = true }) })
		add(over, "the workers are back", func() { s.server.locked(func(*simMachine) { s.server.idle = false }) })
	case 10:
		add(at, fmt.Sprintf("agent %d is killed and starts again", n.id), n.crash)
	case 11:
		stop := luck.IntN(2) == 0
		add(at, fmt.Sprintf("agent %d is told to end (stop %t), and starts again", n.id, stop), func() { n.renew(stop) })
	}
}

// simSpec draws a task.
func simSpec(luck *dice) client.TaskSpec {
	spec := client.TaskSpec{Name: "unit", TimeoutMS: (20 * time.Minute).Milliseconds()}
	if luck.IntN(8) == 0 {
		spec.TimeoutMS = 15_000
	}
	for i := range 1 + luck.IntN(3) {
		step := client.StepSpec{Name: strconv.Itoa(i), Env: map[string]string{"OTTO_STEP": strconv.Itoa(i)}, ExitCodes: map[string]string{"0": client.Succeeded, "3": client.Unstable}}
		step.Always, step.AllowFailure = i > 0 && luck.IntN(4) == 0, luck.IntN(5) == 0
		if luck.IntN(8) == 0 {
			step.TimeoutMS = 5_000
		}
		spec.Steps = append(spec.Steps, step)
	}
	return spec
}

// elapse lets virtual time go by: the clock of the bubble jumps on as soon as all in it wait. No real time passes.
func elapse(d time.Duration) { <-time.After(d) }

// play lets the events happen, each at its time, and then heals everything.
func (s *sim) play(events []simEvent) {
	for _, e := range events {
		elapse(e.at - time.Since(s.began))
		if e.what != "" {
			s.plan("%s", e.what)
		}
		e.do()
	}
	elapse(time.Until(s.began.Add(simFaulty)))
	s.server.locked(func(*simMachine) { s.server.idle = false })
	if s.server.health != simWell {
		s.server.ail(simWell)
	}
	for _, n := range s.nodes {
		n.link.set(simOpen, "", false)
	}
	s.plan("all faults are over")
}

// simulateHour is one seed: safety while things go wrong, liveness afterwards.
func simulateHour(t *testing.T, seed uint64) (s *sim) {
	synctest.Test(t, func(t *testing.T) {
		s = newSim(t, seed, 3)
		s.server.single = seed%5 == 0
		for _, n := range s.nodes {
			n.boot(1)
		}
		s.play(s.chaos())
		s.settle(20 * time.Minute)
		s.end()
	})
	return s
}

// simSeeds are the seeds to try: the one that is asked for, or as many as are asked for.
func simSeeds(t *testing.T, usual int) (first, count uint64) {
	read := func(name string, value uint64) uint64 {
		word := os.Getenv(name)
		if word == "" {
			return value
		}
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	if seed := read("OTTO_SIM_SEED", 0); seed > 0 {
		return seed, 1
	}
	return 1, read("OTTO_SIM_SEEDS", uint64(usual))
}

// Agents, leases, the reaper and logs keep their promises through an hour of faults, and recover from it. OTTO_SIM_SEEDS
// says how many hours, OTTO_SIM_SEED repeats one: exactly on one CPU, but for what happens at the same moment.
func TestSimulation(t *testing.T) {
	t.Parallel()
	first, count := simSeeds(t, 12)
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint("seed_", seed), func(t *testing.T) {
			s := simulateHour(t, seed)
			t.Logf("%d tasks, %d steps, %d requests, lost %v, all over %s after the faults", len(s.server.machine.tasks), s.steps, s.requests, s.lost, s.settled)
		})
	}
}
