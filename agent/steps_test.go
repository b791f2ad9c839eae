package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

func TestEnvironmentIsExact(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := run(t, s, func(c *agent.Config) {
		c.Environ = append(c.Environ, "HTTPS_PROXY=http://proxy:3128", "EXTRA=passed", "LD_PRELOAD=/evil.so")
		c.PassEnv = []string{"EXTRA"}
	})
	spec := steps(sh("env"))
	spec.Env = map[string]string{"A": "task", "B": "task", "MULTI": "two\nlines"}
	spec.Steps[0].Name = "show"
	spec.Steps[0].Env = map[string]string{"B": "step"}
	rec := s.give(spec)
	log := s.logOf(t, rec, s.finished(t, rec).Log)
	var got []string
	for line := range strings.Lines(text(log, "stdout")) {
		name, _, _ := strings.Cut(line, "=")
		// These are the shell's own; the user's name is the host's.
		if !slices.Contains([]string{"PWD", "OLDPWD", "SHLVL", "_", "USER", "LOGNAME"}, name) {
			got = append(got, strings.TrimSuffix(line, "\n"))
		}
	}
	slices.Sort(got)
	dir := filepath.Join(f.cfg.WorkDir, rec.lease.ID)
	want := []string{
		"A=task", "B=step", "MULTI=two", "lines", "CI=true", "EXTRA=passed", "HOME=/home/of/host",
		"HTTPS_PROXY=http://proxy:3128", "LANG=C.UTF-8", "LC_ALL=C.UTF-8", "OTTO=true", "OTTO_AGENT=a1", "OTTO_ATTEMPT=1",
		"OTTO_PROJECT=web", "OTTO_RUN=812", "OTTO_RUN_ID=" + rec.lease.RunID, "OTTO_STAGE=build", "OTTO_STEP=show",
		"OTTO_OUTPUT=" + dir + "/output", "OTTO_TASK=unit", "OTTO_TASK_ID=41", "OTTO_WORKSPACE=" + dir + "/workspace", "PATH=" + os.Getenv("PATH"),
		"TMPDIR=" + dir + "/tmp",
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestKeeperHasNothingOfTheAgent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	rec := s.give(steps(sh("cat /proc/$PPID/environ 2>/dev/null | tr '\\0' '\\n'; ls /proc/self/fd | sort -n | tr '\\n' ' '")))
	log := s.logOf(t, rec, s.finished(t, rec).Log)
	// Descriptor 3 is the directory that ls reads. The keeper's environ is empty, or closed to all but root.
	if got := text(log, "stdout"); got != "0 1 2 3 " {
		t.Errorf("a step sees %q", got)
	}
}

func TestStepsAfterAFailure(t *testing.T) {
	t.Parallel()
	always := func(s client.StepSpec) client.StepSpec { s.Always = true; return s }
	allowed := func(s client.StepSpec) client.StepSpec { s.AllowFailure = true; return s }
	ok, bad, stop, odd := sh("exit 0"), sh("exit 1"), sh("exit 2"), sh("exit 3")
	tests := []struct {
		name  string
		steps []client.StepSpec
		want  string
		code  int
	}{
		{"skips_the_rest", []client.StepSpec{ok, bad, ok}, "succeeded 0, failed 1, skipped", 1},
		{"always_runs", []client.StepSpec{bad, ok, always(ok), ok}, "failed 1, skipped, succeeded 0, skipped", 1},
		{"abort_halts_too", []client.StepSpec{stop, ok, always(bad)}, "aborted 2, skipped, failed 1", 1},
		{"unstable_does_not_halt", []client.StepSpec{odd, ok}, "unstable 3, succeeded 0", 3},
		{"allowed_failure_does_not_halt", []client.StepSpec{allowed(bad), ok}, "failed 1, succeeded 0", 0},
		{"always_that_fails_halts", []client.StepSpec{always(bad), ok}, "failed 1, skipped", 1},
		{"missing_directory", []client.StepSpec{{Sh: "true", Dir: "no/such"}, ok}, `failed the workspace has no directory "no/such", skipped`, -1},
		{"directory_outside", []client.StepSpec{sh("ln -s / out"), {Sh: "true", Dir: "out"}},
			`succeeded 0, failed cannot use directory "out": statat out: path escapes from parent`, -1},
		{"bad_environment", []client.StepSpec{{Sh: "true", Env: map[string]string{"A": "a\x00b"}}}, "failed start /bin/sh: invalid argument", -1},
	}
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 4 })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			result := s.finished(t, s.give(steps(tt.steps...)))
			if got := states(result.Steps); got != tt.want || result.Outcome != "" {
				t.Errorf("got %s (%s), want %s", got, result.Outcome, tt.want)
			}
			if result.ExitCode != nil && *result.ExitCode != tt.code || result.ExitCode == nil && tt.code != -1 {
				t.Errorf("got exit code %v, want %d", result.ExitCode, tt.code)
			}
		})
	}
}

func TestTimeouts(t *testing.T) {
	t.Parallel()
	hang := sh("echo begun; sleep 1000")
	always := client.StepSpec{Name: "clean", Sh: "echo cleaned", Always: true}
	tests := []struct {
		name    string
		spec    func() client.TaskSpec
		want    string
		outcome string
	}{
		{"of_a_step", func() client.TaskSpec {
			h := hang
			h.TimeoutMS = 200
			return steps(h, sh("true"), always)
		}, "failed 143 timeout, skipped, succeeded 0", ""},
		{"of_a_step_that_may_fail", func() client.TaskSpec {
			h := hang
			h.TimeoutMS, h.AllowFailure = 200, true
			return steps(h, sh("true"))
		}, "failed 143 timeout, succeeded 0", ""},
		{"of_a_step_that_ignores_it", func() client.TaskSpec {
			h := sh("trap '' TERM; while :; do sleep 1000; done")
			h.TimeoutMS = 200
			return steps(h)
		}, "failed 137 timeout", ""},
		{"of_the_task", func() client.TaskSpec {
			spec := steps(hang, sh("true"), always)
			spec.TimeoutMS = 300
			return spec
		}, "failed 143 timeout, skipped, succeeded 0", "failed timeout"},
	}
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 4 })
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			result := s.finished(t, s.give(tt.spec()))
			if got := states(result.Steps); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if got := strings.TrimSpace(result.Outcome + " " + result.Reason); got != tt.outcome {
				t.Errorf("got outcome %q, want %q", got, tt.outcome)
			}
		})
	}
}

func TestStepsShareAWorkspaceAndTasksDoNot(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := run(t, s)
	script := sh("test ! -e mark; test ! -e $TMPDIR/mark; echo x >mark; echo x >$TMPDIR/mark; mkdir -p d/ro; touch d/ro/f; chmod 500 d/ro d")
	for range 2 {
		result := s.finished(t, s.give(steps(script, client.StepSpec{Sh: "cat ../../mark", Dir: "d/ro"})))
		if got := states(result.Steps); got != "succeeded 0, succeeded 0" {
			t.Errorf("got %s", got)
		}
	}
	f.Stop()
	f.left(t)
}

func TestReportsOfStepsAreBatched(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	rec := s.give(steps(sh("exit 1"), sh("true"), client.StepSpec{Sh: "true", Always: true}))
	s.finished(t, rec)
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, batch := range rec.batches {
		for _, r := range batch.Steps {
			got = append(got, fmt.Sprint(r.Index, r.State))
		}
		got = append(got, "/")
	}
	// The last step may have ended before its running was sent: the result says it all.
	if all := strings.Join(got, " "); all != "" && all != "0failed 1skipped 2running /" {
		t.Errorf("got %s", all)
	}
	if rec.starts != 1 || rec.finishes != 1 || rec.reports[0].State != client.Running {
		t.Errorf("got %d starts, %d finishes, %v", rec.starts, rec.finishes, rec.reports)
	}
}
