package agent

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ottoci/otto/client"
)

// scene makes a world in a bubble in which all agents run; the play says what happens. It ends well, and all work with it.
func scene(t *testing.T, seed uint64, agents int, play func(s *sim)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, seed, agents)
		for _, n := range s.nodes {
			n.boot(1)
		}
		play(s)
		s.settle(20 * time.Minute)
		s.end()
	})
}

// simLong is a task with steps that take their time.
func simLong(steps int) client.TaskSpec {
	spec := client.TaskSpec{Name: "unit", TimeoutMS: time.Hour.Milliseconds()}
	for i := range steps {
		name := strconv.Itoa(i)
		spec.Steps = append(spec.Steps, client.StepSpec{Name: name, Env: map[string]string{"OTTO_STEP": name}, AllowFailure: true, ExitCodes: map[string]string{"0": client.Succeeded}})
	}
	return spec
}

// However long the server is away, and in which way: no lease is lost for it, and no step runs again.
func TestSimulatedOutagesLoseNothing(t *testing.T) {
	t.Parallel()
	first, count := simSeeds(t, 4)
	for name, health := range map[string]simHealth{"down": simRefuse, "silent": simSilent, "without_a_database": simSick} {
		t.Run(name, func(t *testing.T) {
			for seed := first; seed < first+count; seed++ {
				scene(t, seed, 3, func(s *sim) {
					s.noLoss = true
					luck := s.luck("outages")
					for range 6 {
						s.submit(simLong(12))
					}
					for range 4 {
						elapse(time.Duration(luck.Int64N(int64(2 * time.Minute))))
						lasts := []time.Duration{time.Second, 8 * time.Second, 12 * time.Second, 40 * time.Second, 5 * time.Minute, 20 * time.Minute}[luck.IntN(6)]
						s.plan("the server is %s for %s", name, lasts)
						s.server.ail(health)
						elapse(lasts)
						s.server.ail(simWell)
					}
				})
			}
		})
	}
}

// Who was cut off for so long that his lease was taken away, and given to another, stops its work once he can hear of it.
func TestSimulatedLostLeaseEndsItsWork(t *testing.T) {
	t.Parallel()
	first, count := simSeeds(t, 8)
	for seed := first; seed < first+count; seed++ {
		scene(t, seed, 3, func(s *sim) {
			luck := s.luck("lost")
			for range 5 {
				s.submit(simLong(6))
			}
			for range 4 {
				elapse(time.Duration(luck.Int64N(int64(time.Minute))))
				n, mode := s.nodes[luck.IntN(3)], []simMode{simCut, simHole, simClog}[luck.IntN(3)]
				s.plan("the line of agent %d is in mode %d", n.id, mode)
				n.link.set(mode, "", false)
				elapse(time.Minute + time.Duration(luck.Int64N(int64(time.Minute))))
				n.link.set(simOpen, "", false)
			}
			if len(s.lost) == 0 {
				s.broke("no lease was lost")
			}
		})
	}
}

// What must not go on unseen has ended by itself when the server gives it up, and what may be repeated goes on meanwhile.
func TestSimulatedWorkEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	first, count := simSeeds(t, 8)
	for seed := first; seed < first+count; seed++ {
		for _, mode := range []simMode{simCut, simHole, simDeaf} {
			scene(t, seed, 1, func(s *sim) {
				deploy, unit := simLong(20), simLong(12)
				deploy.OnLost = lostFails
				final, other := s.submit(deploy), s.submit(unit)
				luck := s.luck("unrenewed")
				elapse(simBeat + time.Duration(luck.Int64N(int64(simBeat))))
				s.plan("the line is in mode %d", mode)
				s.nodes[0].link.set(mode, "", false)
				elapse(simTTL + simReap)
				if n := s.count(other.id, (*simStep).wasStopped); n > 0 {
					s.broke("what may be repeated was stopped")
				}
				if n := s.count(final.id, (*simStep).runsOn); n > 0 {
					s.broke("%d steps run after the lease's end", n)
				}
				s.nodes[0].link.set(simOpen, "", false)
				s.settle(20 * time.Minute)
				s.server.locked(func(*simMachine) {
					if final.state != client.Failed || len(final.leases) != 1 {
						s.broke("the deployment is %s (%s) after %d attempts", final.state, final.reason, len(final.leases))
					}
				})
			})
		}
	}
}

// While the database is away nobody gives a lease up, so what must not go on unseen goes on. Once nobody answers, it ends.
func TestSimulatedOutageStopsNoDeployment(t *testing.T) {
	t.Parallel()
	first, count := simSeeds(t, 8)
	for seed := first; seed < first+count; seed++ {
		for _, cut := range []bool{false, true} {
			scene(t, seed, 1, func(s *sim) {
				deploy := simLong(20)
				deploy.OnLost = lostFails
				final := s.submit(deploy)
				elapse(simBeat + time.Duration(s.luck("outage").Int64N(int64(simBeat))))
				s.server.ail(simSick)
				elapse(3 * simTTL)
				if s.count(final.id, (*simStep).wasStopped) > 0 {
					s.broke("the deployment was stopped while the database was away")
				}
				if cut {
					s.nodes[0].link.set(simCut, "", false)
				}
				s.server.ail(simWell)
				elapse(2*simTTL + simReap)
				if cut && s.count(final.id, (*simStep).runsOn) > 0 {
					s.broke("the deployment goes on unseen")
				}
				s.nodes[0].link.set(simOpen, "", false)
				s.settle(20 * time.Minute)
				if !cut && s.count(final.id, (*simStep).wasStopped) > 0 {
					s.broke("the deployment was stopped after the outage")
				}
				s.server.locked(func(*simMachine) {
					if !client.Final(final.state) || len(final.leases) != 1 {
						s.broke("the deployment is %s (%s) after %d attempts", final.state, final.reason, len(final.leases))
					}
				})
			})
		}
	}
}

// count counts the steps of a task that are in some way.
func (s *sim) count(task int64, is func(*simStep) bool) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.attempts {
		for _, x := range at.steps {
			if at.task == task && is(x) {
				n++
			}
		}
	}
	return n
}

func (x *simStep) wasStopped() bool { return x.ended && (x.err != nil || x.ending.Ordered) }

// runsOn says whether it runs, though its keeper can stop it.
func (x *simStep) runsOn() bool { return !x.ended && !x.stuck }

// A fleet whose server was away comes back spread over time, whatever it waited for.
func TestSimulatedFleetComesBackSpread(t *testing.T) {
	t.Parallel()
	const fleet = 200
	for name, health := range map[string]simHealth{"down": simRefuse, "silent": simSilent} {
		t.Run(name, func(t *testing.T) {
			scene(t, 1, fleet, func(s *sim) {
				for range fleet / 2 {
					s.submit(simLong(1))
				}
				elapse(2 * time.Minute)
				s.server.ail(health)
				elapse(time.Minute)
				slots := map[string]map[int64]int{"heartbeat": {}, "lease": {}, "reports": {}}
				back := time.Now()
				s.server.locked(func(*simMachine) {
					s.server.arrived = func(_ int, op string) {
						if slots[op] != nil {
							slots[op][int64(time.Since(back)/(100*time.Millisecond))]++
						}
					}
				})
				s.server.ail(simWell)
				elapse(time.Minute)
				s.server.locked(func(*simMachine) { s.server.arrived = nil })
				for op, counts := range slots {
					most := 0
					for _, n := range counts {
						most = max(most, n)
					}
					if most > fleet/10 || len(counts) == 0 && op != "reports" {
						s.broke("%d of %d agents send a %s within 100 ms of each other", most, fleet, op)
					}
				}
			})
		})
	}
}

// Whatever else is stuck, heartbeats go on, and the lease is kept.
func TestSimulatedHeartbeatsGoOn(t *testing.T) {
	t.Parallel()
	for _, stuck := range []string{"reports", "frames", "steps", "lease"} {
		t.Run(stuck, func(t *testing.T) {
			scene(t, 1, 1, func(s *sim) {
				s.noLoss = true
				s.server.locked(func(*simMachine) { s.server.beats = map[int][]time.Time{} })
				s.submit(simLong(4))
				s.submit(simLong(4))
				elapse(15 * time.Second)
				s.plan("%s are stuck", stuck)
				s.nodes[0].link.set(simHole, stuck, false)
				elapse(8 * time.Minute)
				s.nodes[0].link.set(simOpen, "", false)
				s.server.locked(func(*simMachine) {
					for i, at := range s.server.beats[1][1:] {
						if gap := at.Sub(s.server.beats[1][i]); gap > simBeat+time.Second {
							s.broke("no heartbeat for %s", gap)
						}
					}
				})
			})
		})
	}
}

// A drain ends in its time, whatever the steps and the server do; what is left is handed back where that can be said.
func TestSimulatedDrainEnds(t *testing.T) {
	t.Parallel()
	for name, health := range map[string]simHealth{"well": simWell, "down": simRefuse, "silent": simSilent, "without_a_database": simSick} {
		t.Run(name, func(t *testing.T) {
			first, count := simSeeds(t, 4)
			for seed := first; seed < first+count; seed++ {
				scene(t, seed, 2, func(s *sim) {
					luck := s.luck("drain")
					for range 4 {
						s.submit(simLong(6))
					}
					elapse(time.Duration(luck.Int64N(int64(time.Minute))))
					if health != simWell {
						s.server.ail(health)
					}
					elapse(time.Duration(luck.Int64N(int64(20 * time.Second))))
					s.nodes[0].leave(luck.IntN(3) == 0)
					if health != simWell {
						s.server.ail(simWell)
					}
					if health == simWell && len(s.open(1)) > 0 {
						s.broke("a drained agent holds leases: %v", s.open(1))
					}
					s.nodes[0].boot(2)
				})
			}
		})
	}
}

// open names the leases that an agent has, for the server.
func (s *sim) open(agent int) (list []string) {
	s.server.locked(func(m *simMachine) {
		for _, l := range m.open(agent) {
			list = append(list, fmt.Sprintf("%s of task %d", l.id, l.task.id))
		}
	})
	slices.Sort(list)
	return list
}
