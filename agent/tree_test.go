package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

// until polls a condition outside of Go, such as one on the process table.
func until(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// marked gives the living processes that have the mark in their environment, which every child inherits.
func marked(mark string) (pids []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range paths {
		if env, err := os.ReadFile(path); err == nil && bytes.Contains(env, []byte("MARK="+mark)) {
			pids = append(pids, strings.Split(path, "/")[2])
		}
	}
	return pids
}

// childrenOf gives the children of a process.
func childrenOf(pid int) (children []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range paths {
		if status, err := os.ReadFile(path); err == nil && bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", pid)) {
			children = append(children, strings.Split(path, "/")[2])
		}
	}
	return children
}

// alive says whether a process is there and no zombie, which a busy machine may reap late.
func alive(pid string) bool {
	status, err := os.ReadFile("/proc/" + pid + "/status")
	return err == nil && !bytes.Contains(status, []byte("\nState:\tZ"))
}

// tree is a script that starts processes in all the ways that make them hard to find, and hangs.
const tree = `trap '' TERM
sleep 1001 &
(sleep 1002 & sleep 1003) &
(setsid sh -c 'trap "" TERM HUP; sleep 1004 & wait') &
setsid sh -c '(sleep 1005 >/dev/null 2>&1 </dev/null &) & exit 0'
nohup sleep 1006 >/dev/null 2>&1 &
(while :; do sleep 0.01; (sleep 1007 &) ; sleep 1; done) &
echo ready
while :; do sleep 1; done
`

func treeTask(t *testing.T) (client.TaskSpec, string) {
	mark := t.Name() + strconv.FormatInt(time.Now().UnixNano(), 36)
	spec := steps(sh(tree), client.StepSpec{Name: "clean", Sh: "echo cleaned", Always: true})
	spec.Env = map[string]string{"MARK": mark}
	return spec, mark
}

// ready waits until the tree stands and its first output has arrived.
func ready(t *testing.T, s *server, rec *record, mark string) {
	t.Helper()
	s.wait(t, "first output", func() bool { return len(rec.chunks) > 0 })
	until(t, patience, "the tree", func() bool { return len(marked(mark)) >= 8 })
}

func TestAbortKillsTheWholeTree(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"abort", "kill"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			run(t, s)
			spec, mark := treeTask(t)
			rec := s.give(spec)
			ready(t, s, rec, mark)
			s.locked(func() { rec.abort = &client.Abort{Lease: rec.lease.ID, Level: level, Reason: "ana said so"} })
			result := s.finished(t, rec)
			want := map[string]string{"abort": "aborted 137 ana said so, succeeded 0", "kill": "aborted 137 ana said so, skipped"}[level]
			if got := states(result.Steps); got != want || result.Outcome != "aborted" || result.Reason != "ana said so" {
				t.Errorf("got %s, %s %s", got, result.Outcome, result.Reason)
			}
			if pids := marked(mark); len(pids) > 0 {
				t.Errorf("still there: %v", pids)
			}
		})
	}
}

func TestAStepsProcessesEndWithIt(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	spec := steps(sh("sleep 1001 & setsid sleep 1002 & sleep 0.2; echo done"), sh("echo next"))
	spec.Env = map[string]string{"MARK": t.Name()}
	rec := s.give(spec)
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := states(result.Steps); got != "succeeded 0, succeeded 0" || text(log, "stdout") != "done\nnext\n" {
		t.Errorf("got %s, %q", got, text(log, "stdout"))
	}
	said := text(log, "agent")
	if !strings.HasPrefix(said, "otto: killed 2 processes that the step left running: ") || !strings.Contains(said, " sleep 1001") {
		t.Errorf("the log says %q", said)
	}
	if pids := marked(t.Name()); len(pids) > 0 {
		t.Errorf("still there: %v", pids)
	}
}

// startProcess runs an agent as a process of its own.
func startProcess(t *testing.T, cfg agent.Config) *exec.Cmd {
	t.Helper()
	cfg.Shared, cfg.Log = false, nil
	settings, err := json.Marshal(cfg) //nolint:staticcheck // its TLS is nil
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "agent-process", string(settings))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestKilledAgentLeavesNoProcess(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	cfg := config(t, s)
	cfg.Capacity = 2
	cmd := startProcess(t, cfg)
	spec, mark := treeTask(t)
	rec := s.give(spec)
	ready(t, s, rec, mark)
	keepers := childrenOf(cmd.Process.Pid)
	if len(keepers) < 2 { // one that has the step, and one that waits
		t.Fatalf("there are the keepers %v", keepers)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	until(t, 2*time.Second, "the end of all processes of the step", func() bool { return len(marked(mark)) == 0 })
	until(t, 2*time.Second, "the end of all keepers", func() bool { return !slices.ContainsFunc(keepers, alive) })

	_ = cmd.Wait()
	next := run(t, s, func(c *agent.Config) { c.WorkDir = cfg.WorkDir })
	s.finished(t, s.give(steps(sh("true"))))
	next.Stop()
	next.left(t)
}

func TestStepThatKillsItsKeeper(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startProcess(t, config(t, s))
	spec := steps(sh("setsid sh -c 'sleep 1001 & sleep 1002' & (setsid sleep 1003 &); sleep 0.2; kill -9 $PPID; sleep 1000"),
		client.StepSpec{Name: "clean", Sh: "echo cleaned", Always: true})
	spec.Env = map[string]string{"MARK": t.Name()}
	rec := s.give(spec)
	result := s.finished(t, rec)
	if got := states(result.Steps); got != "failed the keeper of the step was killed, succeeded 0" {
		t.Errorf("got %s", got)
	}
	if pids := marked(t.Name()); len(pids) > 0 {
		t.Errorf("still there: %v", pids)
	}
	if said := text(s.logOf(t, rec, result.Log), "agent"); !strings.Contains(said, "sleep 1003") {
		t.Errorf("the log says %q", said)
	}
}

func TestStepThatStopsItsKeeper(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	step := sh("kill -STOP $PPID; sleep 1000")
	step.TimeoutMS = 300
	if got := states(s.finished(t, s.give(steps(step))).Steps); got != "failed 143 timeout" {
		t.Errorf("got %s", got)
	}
}

// The pipe's end never comes while somebody outside the step's tree holds it.
func TestSomebodyElseHoldsThePipe(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	dir := t.TempDir()
	rec := s.give(steps(sh("echo before; echo $$ >" + dir + "/.pid; mv " + dir + "/.pid " + dir + "/pid; until test -e " + dir + "/go; do sleep 0.01; done; echo after")))
	var pid []byte
	until(t, patience, "the step", func() bool { pid, _ = os.ReadFile(dir + "/pid"); return len(pid) > 0 })
	held, err := os.OpenFile("/proc/"+strings.TrimSpace(string(pid))+"/fd/1", os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	result := s.finished(t, rec)
	if got := text(s.logOf(t, rec, result.Log), "stdout"); got != "before\nafter\n" {
		t.Errorf("got %q", got)
	}
}
