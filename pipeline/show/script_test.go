package show_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// byHand runs the script of a task with a shell, in a directory of its own.
func byHand(t *testing.T, tk pipeline.Task, env ...string) (exitCode int, output string) {
	t.Helper()
	plan := &pipeline.Plan{Stages: []pipeline.Stage{{Name: "stage", Mode: pipeline.Linear, Tasks: []pipeline.Task{tk}}}}
	text, err := show.Script(plan, tk.Name, "sha256:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "web dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-s")
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append([]string{"PATH=" + os.Getenv("PATH")}, env...), strings.NewReader(text)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func step(sh string, change func(*pipeline.Step)) pipeline.Step {
	s := pipeline.Step{Name: strings.SplitN(sh, "\n", 2)[0], Sh: sh, ExitCodes: exits()}
	if change != nil {
		change(&s)
	}
	return s
}

func TestScriptDoesWhatTheStepsDo(t *testing.T) {
	t.Parallel()
	always := func(s *pipeline.Step) { s.Always = true }
	allowed := func(s *pipeline.Step) { s.AllowFailure = true }
	for name, row := range map[string]struct {
		steps  []pipeline.Step
		exit   int
		output string
	}{
		"in_order":                {[]pipeline.Step{step("echo one", nil), step("echo two", nil)}, 0, "one\ntwo\n"},
		"stops_at_a_failure":      {[]pipeline.Step{step("echo one\nfalse\necho no", nil), step("echo two", nil), step("echo three", always)}, 1, "one\nthree\n"},
		"aborted":                 {[]pipeline.Step{step("exit 2", nil), step("echo two", nil)}, 2, ""},
		"unstable_goes_on":        {[]pipeline.Step{step("exit 3", nil), step("echo two", nil)}, 3, "two\n"},
		"worst_counts":            {[]pipeline.Step{step("exit 3", nil), step("exit 9", nil), step("exit 2", always)}, 1, ""},
		"allowed_failure":         {[]pipeline.Step{step("exit 1", allowed), step("exit 3", allowed), step("echo two", nil)}, 0, "two\n"},
		"exit_codes":              {[]pipeline.Step{step("exit 75", func(s *pipeline.Step) { s.ExitCodes = exits("75", "unstable") })}, 3, ""},
		"dir":                     {[]pipeline.Step{step("basename \"$PWD\"", func(s *pipeline.Step) { s.Dir = "web dir" })}, 0, "web dir\n"},
		"no_dir":                  {[]pipeline.Step{step("echo no", func(s *pipeline.Step) { s.Dir, s.ExitCodes = "it's", exits("1", "succeeded") })}, 1, "the workspace has no directory it's\n"},
		"env_of_a_step_is_its":    {[]pipeline.Step{step("echo \"$A$B\"", func(s *pipeline.Step) { s.Env = map[string]string{"A": "it's $HOME `x` \\\n", "B": ""} }), step("echo \"$A\"", nil)}, 0, "it's $HOME `x` \\\n\ntask\n"},
		"shell":                   {[]pipeline.Step{step("echo \"$1\" $0", func(s *pipeline.Step) { s.Shell = []string{"/bin/sh", "-c", "echo 'a  b'; cat \"$1\"", "x"} })}, 0, "a  b\necho \"$1\" $0\n"},
		"marks_in_the_script":     {[]pipeline.Step{step("cat <<OTTO\n$OTTO_TASK\nOTTO\n", nil)}, 0, "t\n"},
		"nothing_on_stdin":        {[]pipeline.Step{step("cat; echo end", nil)}, 0, "end\n"},
		"omitted":                 {[]pipeline.Step{step("echo no\necho no", func(s *pipeline.Step) { s.Omitted = "no\necho of course" }), step("echo two", nil)}, 0, "two\n"},
		"name_that_is_no_comment": {[]pipeline.Step{step("echo one", func(s *pipeline.Step) { s.Name = "x\necho no\r\necho never" })}, 0, "one\n"},
		"outputs_have_a_place":    {[]pipeline.Step{step("echo v=1 >>\"$OTTO_OUTPUT\"; cat \"$OTTO_OUTPUT\"; [ -d \"$TMPDIR\" ]", nil)}, 0, "v=1\n"},
		"no_steps":                {nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exit, output := byHand(t, pipeline.Task{Name: "t", Env: map[string]string{"A": "task"}, Steps: row.steps})
			if exit != row.exit || output != row.output {
				t.Errorf("exit %d, output %q; want %d, %q", exit, output, row.exit, row.output)
			}
		})
	}
}

func TestScriptFailsWithASignal(t *testing.T) {
	t.Parallel()
	if exit, output := byHand(t, pipeline.Task{Name: "t", Steps: []pipeline.Step{step("kill -9 $$", nil)}}); exit != 1 {
		t.Errorf("exit %d: %s", exit, output)
	}
}

func TestScriptAsksForWhatIsDecidedLater(t *testing.T) {
	t.Parallel()
	tk := pipeline.Task{
		Name: "t", Env: map[string]string{"B": "task"}, Steps: []pipeline.Step{step(`echo "$V $B"`, nil), step("echo two", nil)},
		Later: []pipeline.Later{
			{Field: "/when", Expr: "outputs.build.version != ''"},
			{Field: "/env/V", Expr: `outputs["a}b"].v + "$(echo no)"`},
			{Field: "/steps/0/env/B", Expr: "outputs.build.b"},
			{Field: "/steps/1/when", Expr: "status == 'failed'"},
		},
	}
	for _, row := range []struct {
		env    []string
		exit   int
		output string
	}{
		{nil, -1, `V: is decided at run time: outputs["a}b"].v + "$(echo no)"`},
		{[]string{"V=1"}, -1, "STEP_1_B: is decided at run time: outputs.build.b"},
		{[]string{"V=1", "STEP_1_B=2"}, -1, "STEP_2_RUNS: is decided at run time: status == 'failed'; true or false"},
		{[]string{"V=", "STEP_1_B=2", "STEP_2_RUNS=false"}, 0, " 2\n"},
		{[]string{"V=1", "STEP_1_B=2", "STEP_2_RUNS=true"}, 0, "1 2\ntwo\n"},
	} {
		exit, output := byHand(t, tk, row.env...)
		if (exit == 0) != (row.exit == 0) || !strings.Contains(output, row.output) {
			t.Errorf("%v: exit %d, output %q; want %d, %q", row.env, exit, output, row.exit, row.output)
		}
	}
}

func TestScriptOf(t *testing.T) {
	t.Parallel()
	text, err := show.Script(rich(), "build", "sha256:0123")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "build.sh", text)
	for name, want := range map[string]string{
		"unit":    "the task unit has 2 legs; name one of unit (1.25), unit (1.26)",
		"nothing": `the plan has no task "nothing"; it has build, unit (1.25), unit (1.26), lint, deploy, soak <&> "quoted" 漢字, night 2, tell, clean up`,
	} {
		if _, err := show.Script(rich(), name, ""); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
