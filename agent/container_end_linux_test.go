package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/enginetest"
	ours "github.com/ottoci/otto/client"
)

// stubborn is a step that is hard to get rid of, and tells when it is there.
func stubborn(mark string) ours.TaskSpec {
	spec := inImage(sh(`trap '' TERM
(setsid sh -c 'trap "" TERM; sleep 1001' &)
setsid sh -c 'trap "" TERM; (sh -c "trap : TERM; while :; do sleep 1002; done" &); sleep 1003' &
while :; do sleep 0.1; : & done & echo ready; wait; while :; do sleep 1000; done`),
		ours.StepSpec{Name: "clean", Sh: "echo cleaned", Always: true})
	spec.Env = map[string]string{"MARK": mark}
	return spec
}

func awaitOutput(t *testing.T, s *server, rec *record) {
	t.Helper()
	s.wait(t, "first output", func() bool {
		for _, chunk := range rec.chunks {
			for _, segment := range chunk.Segments {
				if segment.Kind == ours.SegmentStdout {
					return true
				}
			}
		}
		return rec.finish != nil
	})
}

func TestContainerAborts(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	for _, level := range []string{"abort", "kill"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			rec := s.give(stubborn(t.Name()))
			awaitOutput(t, s, rec)
			s.locked(func() { rec.abort = &ours.Abort{Lease: rec.lease.ID, Level: level, Reason: "ana said so"} })
			result := s.finished(t, rec)
			want := map[string]string{"abort": "aborted 137 ana said so, succeeded 0", "kill": "aborted 137 ana said so, skipped"}[level]
			if got := states(result.Steps); got != want {
				t.Errorf("got %s\n%s", got, said(s.logOf(t, rec, result.Log)))
			}
			if pids := marked(t.Name()); len(pids) > 0 {
				t.Errorf("still there: %v", pids)
			}
		})
	}
}

// A step that is asked to end may do what it has to, and so may those it has started.
func TestContainerEndsInGrace(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.settings.GraceMS = 30_000
	runContainers(t, s)
	step := sh("(trap 'sleep 0.3; echo child >>ended; exit' TERM; while :; do sleep 0.05; done) & trap 'echo main >>ended; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
	step.TimeoutMS = 1500
	rec := s.give(inImage(step, ours.StepSpec{Name: "look", Sh: "sort ended", Always: true}))
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := states(result.Steps); got != "failed 7 timeout, succeeded 0" || text(log, "stdout") != "ready\nchild\nmain\n" {
		t.Errorf("got %s\n%s", got, said(log))
	}
}

func TestContainerStepLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	spec := inImage(sh("setsid sleep 1001 & (setsid sleep 1002 &); (sleep 0.01 &) ; echo done"), sh("ps | grep -c 'sleep 100[12]' || true"))
	spec.Env = map[string]string{"MARK": t.Name()}
	rec := s.give(spec)
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := states(result.Steps); got != "succeeded 0, succeeded 0" || text(log, "stdout") != "done\n0\n" {
		t.Errorf("got %s, %q", got, text(log, "stdout"))
	}
	if got := text(log, "agent"); !strings.Contains(got, "otto: killed 2 processes that the step left running: ") || !strings.Contains(got, " sleep") {
		t.Errorf("the log says %q", got)
	}
}

func TestContainerLimits(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s, func(c *agent.Config) { c.Engine.Limits = ours.Limits{Memory: 64 << 20, Processes: 40, CPU: 0.5} })
	rec := s.give(inImage(
		ours.StepSpec{Name: "memory", Sh: "head -c 200000000 /dev/zero | tail -c 199999999 >/dev/null", AllowFailure: true},
		ours.StepSpec{Name: "exec", Sh: "exec tail -c 199999999 /dev/zero", AllowFailure: true},
		ours.StepSpec{Name: "processes", Sh: "i=0; while [ $i -lt 100 ]; do sleep 100 & i=$((i+1)); done 2>/dev/null", AllowFailure: true},
		ours.StepSpec{Name: "killed by itself", Sh: "kill -9 $$", AllowFailure: true},
	))
	result := s.finished(t, rec)
	if got := states(result.Steps); !strings.HasPrefix(got, "failed 137 oom, failed 137 oom, failed 2, failed 137") &&
		!strings.HasPrefix(got, "failed 137 oom, failed 137 oom, aborted 2, failed 137") {
		t.Errorf("got %s\n%s", got, said(s.logOf(t, rec, result.Log)))
	}
}

// Kill -9 of the agent ends containers, services and networks, without another agent.
func TestKilledAgentLeavesNoContainer(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t)
	e.Busybox(t)
	s := newServer(t)
	cfg := config(t, s)
	cfg.Engine.Host = e.Host
	cmd := startProcess(t, cfg)
	spec := stubborn(t.Name())
	spec.Services = []ours.ServiceSpec{{Name: "db", Image: enginetest.Busybox, Command: []string{"sh", "-c", "trap '' TERM; while :; do sleep 1004; done"}, Env: map[string]string{"MARK": t.Name()}}}
	awaitOutput(t, s, s.give(spec))
	label := engine.LabelAgent + "=" + owner(t, cfg.WorkDir)
	if left := e.Left(t, label); len(left) != 3 {
		t.Errorf("there are %v", left)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, patience, "the end of all processes", func() bool { return len(marked(t.Name())) == 0 })
	until(t, patience, "the end of all that the engine knows", func() bool { return len(e.Left(t, label)) == 0 })
	_ = cmd.Wait()
}

// What nobody else has removed, the agent removes at its next start; and nothing of others.
func TestAgentSweepsContainers(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t)
	image := e.Busybox(t)
	s := newServer(t)
	cfg := config(t, s)
	if err := os.MkdirAll(cfg.WorkDir, 0o700); err != nil {
		t.Fatal(err)
	}
	mine, other := "mine-"+strings.ToLower(t.Name()), "other-"+strings.ToLower(t.Name())
	if err := os.WriteFile(filepath.Join(cfg.WorkDir, "id"), []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{mine, other} {
		leave(t, e, image, name)
	}
	f := run(t, s, func(c *agent.Config) { c.WorkDir, c.Engine.Host = cfg.WorkDir, e.Host })
	s.finished(t, s.give(steps(sh("true"))))
	if left := e.Left(t, engine.LabelAgent+"="+mine); len(left) != 0 {
		t.Errorf("the agent has not swept %v", left)
	}
	if left := e.Left(t, engine.LabelAgent+"="+other); len(left) != 2 {
		t.Errorf("of another agent are left %v", left)
	}
	f.Stop()
}

// leave makes a container and a network as a dead agent leaves them.
func leave(t *testing.T, e *enginetest.Engine, image, name string) {
	t.Helper()
	labels := map[string]string{engine.LabelAgent: name, engine.LabelLease: "x", "otto.life": "over"}
	network, err := e.API.NetworkCreate(t.Context(), name, client.NetworkCreateOptions{Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	made, err := e.API.ContainerCreate(t.Context(), client.ContainerCreateOptions{Name: name,
		Config: &container.Config{Image: image, Cmd: []string{"sleep", "1000"}, Labels: labels}, HostConfig: &container.HostConfig{NetworkMode: container.NetworkMode(network.ID)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.API.ContainerStart(t.Context(), made.ID, client.ContainerStartOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A census: many tasks that fork, daemonise and ignore what they are told, aborted at random, with the agent killed in between.
func TestKillCensusOfContainers(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t)
	e.Busybox(t)
	s := newServer(t)
	cfg := config(t, s)
	cfg.Engine.Host, cfg.Capacity = e.Host, 4
	const lives, each = 3, 6
	for life := range lives {
		cmd := startProcess(t, cfg)
		// Before, the request that the dead one held could get a task.
		s.wait(t, "the agent's hello", func() bool { return s.calls["hello"] > life })
		var recs []*record
		for n := range each {
			spec := stubborn(t.Name())
			spec.Steps[0].TimeoutMS = int64(100 + 400*((n*7+life*3)%5))
			recs = append(recs, s.give(spec))
		}
		for n, rec := range recs[:each/2] {
			s.wait(t, "a task to begin", func() bool { return rec.starts > 0 || rec.finish != nil })
			if n%2 == 0 {
				s.locked(func() {
					rec.abort = &ours.Abort{Lease: rec.lease.ID, Level: []string{"abort", "kill"}[life%2], Reason: "census"}
				})
			}
		}
		s.wait(t, "results", func() bool { return recs[0].finish != nil && recs[1].finish != nil })
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		s.locked(func() { // what the dead agent had is lost, and what it had not begun is not wanted any more
			s.queue = nil
			for _, rec := range recs {
				rec.fenced = rec.finish == nil
			}
		})
	}
	label := engine.LabelAgent + "=" + owner(t, cfg.WorkDir)
	until(t, patience, "the end of all processes", func() bool { return len(marked(t.Name())) == 0 })
	until(t, patience, "the end of all that the engine knows", func() bool { return len(e.Left(t, label)) == 0 })
	last := run(t, s, func(c *agent.Config) { c.WorkDir, c.Engine.Host = cfg.WorkDir, e.Host })
	s.finished(t, s.give(inImage(sh("true"))))
	last.Stop()
	last.left(t)
}
