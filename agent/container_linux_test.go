package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/enginetest"
	"github.com/ottoci/otto/client"
)

// runContainers starts an agent that uses the engine of the tests. At the end of the test nothing of it may be left there.
func runContainers(t *testing.T, s *server, change ...func(*agent.Config)) (*fixture, *enginetest.Engine) {
	t.Helper()
	e := enginetest.Start(t)
	e.Busybox(t)
	var dir string
	_ = t.TempDir() // goes after the check
	t.Cleanup(func() { leftNothing(t, e, dir) })
	f := run(t, s, append([]func(*agent.Config){func(c *agent.Config) {
		c.Engine.Host, c.Capacity = e.Host, 4
		dir = c.WorkDir
	}}, change...)...)
	return f, e
}

func leftNothing(t *testing.T, e *enginetest.Engine, dir string) {
	t.Helper()
	if left := e.Left(t, engine.LabelAgent+"="+owner(t, dir)); len(left) > 0 {
		t.Errorf("the agent left %v", left)
	}
}

// owner is by which label an agent's containers are known.
func owner(t *testing.T, dir string) string {
	t.Helper()
	name, err := os.ReadFile(filepath.Join(dir, "id"))
	if err != nil {
		t.Fatal(err)
	}
	return string(name)
}

// inImage is a task whose steps run in busybox.
func inImage(specs ...client.StepSpec) client.TaskSpec {
	spec := steps(specs...)
	spec.Image = enginetest.Busybox
	return spec
}

func TestContainerExitCodesAreExact(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, script, want string
		shell              []string
	}{
		{"0", "exit 0", "succeeded 0", nil},
		{"1", "exit 1", "failed 1", nil},
		{"2", "exit 2", "aborted 2", nil},
		{"3", "exit 3", "unstable 3", nil},
		{"127", "no-such-program-anywhere", "failed 127", nil},
		{"255", "exit 255", "failed 255", nil},
		{"sigkill", "kill -9 $$", "failed 137", nil},
		{"sigterm", "kill -TERM $$", "failed 143", nil},
		{"first_failing_line_ends_it", "false\nexit 0", "failed 1", nil},
		{"stdin_is_empty", "test -z \"$(cat)\"", "succeeded 0", nil},
		{"a_shell_of_the_image", "echo \"$0\"", "succeeded 0", []string{"ash", "-eu"}},
		{"a_shell_that_is_missing", "true", "failed 127", []string{"zsh"}},
		{"the_first_process_cannot_be_killed", "kill -9 1; kill -TERM 1; exit 4", "failed 4", nil},
	}
	s := newServer(t)
	runContainers(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			step := sh(tt.script)
			step.Shell = tt.shell
			rec := s.give(inImage(step))
			result := s.finished(t, rec)
			if got := states(result.Steps); got != tt.want {
				t.Errorf("got %s, want %s; %s\n%s", got, tt.want, result.Reason, said(s.logOf(t, rec, result.Log)))
			}
		})
	}
}

func TestContainerOutputIsExact(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	const size = 10 << 20
	rec := s.give(inImage(sh("printf 'a\\000\\377\\r\\n\\033b'; printf 'err\\000' >&2"), sh(fmt.Sprintf("head -c %d /dev/zero | tr '\\000' x; echo end >&2", size))))
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	want := "a\x00\xff\r\n\x1bb" + strings.Repeat("x", size)
	if got := text(log, "stdout"); got != want {
		t.Errorf("got %d bytes on stdout, want %d: %q…", len(got), len(want), got[:min(len(got), 40)])
	}
	if got := text(log, "stderr"); got != "err\x00end\n" {
		t.Errorf("got %q on stderr", got)
	}
}

func TestContainerWorkspace(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f, _ := runContainers(t, s, func(c *agent.Config) { c.KeepWorkspace = true })
	spec := inImage(
		sh("echo one >kept; mkdir -p sub; pwd; echo $OTTO_WORKSPACE; test -w $TMPDIR; touch /outside"),
		client.StepSpec{Name: "next", Sh: "cat ../kept; test -e /outside; test ! -e /work; echo answer=42 >>$OTTO_OUTPUT", Dir: "sub"})
	spec.Outputs = map[string]string{"answer": "integer"}
	rec := s.give(spec)
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := states(result.Steps); got != "succeeded 0, succeeded 0" {
		t.Fatalf("got %s\n%s", got, said(log))
	}
	workspace := filepath.Join(f.cfg.WorkDir, rec.lease.ID, "workspace")
	if got, want := text(log, "stdout"), workspace+"\n"+workspace+"\none\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if result.Outputs["answer"] != float64(42) {
		t.Errorf("got outputs %v", result.Outputs)
	}
	if body, err := os.ReadFile(filepath.Join(workspace, "kept")); err != nil || string(body) != "one\n" {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestContainerUser(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	spec := inImage(sh("grep -q 'CapEff:.0*$' /proc/self/status; id -u; echo $HOME; echo x >mine; echo who=user >>$OTTO_OUTPUT; stat -c %U mine"))
	spec.Container = &client.ContainerSpec{User: "user"}
	spec.Outputs = map[string]string{"who": "string"}
	rec := s.give(spec)
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := text(log, "stdout"); got != "7007\n/home/user\nuser\n" || result.Outputs["who"] != "user" {
		t.Errorf("got %q, %s, %v\n%s", got, states(result.Steps), result.Outputs, said(log))
	}
}

// What a container cannot do without being asked for and allowed.
func TestContainerIsConfined(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	attacks := map[string]string{
		"mounts":               "mount -t tmpfs none /mnt || mkdir -p /mnt && mount -t tmpfs none /mnt",
		"makes_a_device":       "mknod /disk b 8 0",
		"has_other_powers":     "! grep -q 'CapBnd:.00000000000404fb$' /proc/self/status",
		"gains_by_setuid":      "grep -q 'NoNewPrivs:.*0' /proc/self/status",
		"sees_the_hosts_files": "test -e /work || test -e /root/go || test -e /host",
		"reaches_the_engine":   "test -e /var/run/docker.sock || test -e /run/docker.sock",
		"sees_other_processes": "test $(ls -d /proc/[0-9]* | wc -l) -gt 12",
		"writes_to_sysctl":     "echo 1 >/proc/sys/kernel/sysrq",
		"loads_into_sys":       "echo x >/sys/kernel/uevent_helper",
		"has_a_raw_socket":     "arping -c 1 -w 1 -I eth0 127.0.0.1 2>&1 | grep -q ARPING",
		"changes_the_network":  "ip link set lo down",
	}
	spec := inImage()
	for name, script := range attacks {
		spec.Steps = append(spec.Steps, client.StepSpec{Name: name, Sh: "if { " + script + "; } 2>/dev/null; then echo " + name + "; fi"})
	}
	rec := s.give(spec)
	log := s.logOf(t, rec, s.finished(t, rec).Log)
	if got := text(log, "stdout"); got != "" {
		t.Errorf("a container %s", got)
	}
}

// said is everything that was written into a log.
func said(log []piece) string {
	var out bytes.Buffer
	for _, p := range log {
		out.Write(p.text)
	}
	return out.String()
}
