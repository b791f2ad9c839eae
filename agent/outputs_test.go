package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/client"
)

// declared are the outputs of the tasks of these tests.
func declared() map[string]string {
	return map[string]string{"version": "string", "ok": "boolean", "count": "integer", "share": "number", "list": "json"}
}

func TestOutputs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 4 })
	for name, c := range map[string]struct {
		scripts []string
		want    map[string]any
	}{
		"none":                 {[]string{"true"}, nil},
		"lines":                {[]string{`printf 'version=1.2=x\nok=true\ncount=-3\n\nshare=0.5\nlist=[1,{"a":null}]\n' >> $OTTO_OUTPUT`}, map[string]any{"version": "1.2=x", "ok": true, "count": -3.0, "share": 0.5, "list": []any{1.0, map[string]any{"a": nil}}}},
		"json":                 {[]string{`printf '%s\n' '{"version": "two\nlines", "count": 7}' >> $OTTO_OUTPUT`}, map[string]any{"version": "two\nlines", "count": 7.0}},
		"later_lines_win":      {[]string{`echo version=1 >> $OTTO_OUTPUT`, `echo version=2 >> $OTTO_OUTPUT; echo ok=false >> $OTTO_OUTPUT`}, map[string]any{"version": "2", "ok": false}},
		"without_a_last_end":   {[]string{`printf version=1 >> $OTTO_OUTPUT`}, map[string]any{"version": "1"}},
		"lines_of_dos":         {[]string{`printf 'version=1\r\nok=true\r\n' >> $OTTO_OUTPUT`}, map[string]any{"version": "1", "ok": true}},
		"empty_string":         {[]string{`echo version= >> $OTTO_OUTPUT`}, map[string]any{"version": ""}},
		"a_file_put_in_place":  {[]string{`echo version=1 > new; mv new $OTTO_OUTPUT`}, map[string]any{"version": "1"}},
		"of_a_step_that_fails": {[]string{`echo version=1 >> $OTTO_OUTPUT; exit 1`}, map[string]any{"version": "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := steps()
			for _, script := range c.scripts {
				spec.Steps = append(spec.Steps, sh(script))
			}
			spec.Outputs = declared()
			result := s.finished(t, s.give(spec))
			if result.Outcome != "" {
				t.Errorf("the task is %s: %s", result.Outcome, result.Reason)
			}
			if diff := cmp.Diff(c.want, result.Outputs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOutputs_that_fail_the_task(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s, func(c *agent.Config) { c.Capacity = 4 })
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("version=secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ script, want string }{
		"undeclared":       {`echo version=1 >> $OTTO_OUTPUT; echo other=s3cret >> $OTTO_OUTPUT`, `$OTTO_OUTPUT, line 2: the output "other" is not declared: the task declares count, list, ok, share, version`},
		"blank_round_it":   {`echo 'version = 1' >> $OTTO_OUTPUT`, `$OTTO_OUTPUT, line 1: the output "version " is not declared: the task declares count, list, ok, share, version`},
		"neither_form":     {`echo hello >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: this is neither name=value nor a JSON object"},
		"broken_json":      {`echo '{"version": 1' >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: this is not a JSON object: it is wrong at character 13"},
		"wrong_type":       {`echo '{"version": 1}' >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output version is an integer, and is declared as string"},
		"wrong_boolean":    {`echo ok=1 >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output ok is an integer, and is declared as boolean"},
		"yaml_boolean":     {`echo ok=yes >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output ok is declared as boolean, and this is not JSON: it is wrong at character 1"},
		"broken_integer":   {`echo count=1.5 >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output count is a number, and is declared as integer"},
		"large_integer":    {`echo count=9007199254740993 >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output count is beyond ±(2^53-1): declare it as a string"},
		"too_large_number": {`echo share=1e999 >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output share is declared as number, and this is not JSON: it has a number that is too large"},
		"zero_byte":        {`echo '{"list": {"a": ["\u0000"]}}' >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output list holds a zero byte"},
		"too_deep":         {`many() { head -c 100 /dev/zero | tr '\0' "$1"; }; echo "list=$(many '[')$(many ']')" >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: the output list is nested deeper than 64 levels"},
		"not_utf8":         {`printf 'version=\377\n' >> $OTTO_OUTPUT`, "$OTTO_OUTPUT, line 1: this is not UTF-8"},
		"too_much":         {`head -c 262145 /dev/zero >> $OTTO_OUTPUT`, "$OTTO_OUTPUT holds more than 256 KiB: put large results into a file"},
		"too_much_as_json": {`printf 'version=%0200000d\n' 0 | tr 0 '"' >> $OTTO_OUTPUT`, "the outputs are larger than 256 KiB: put large results into a file"},
		"removed":          {`rm $OTTO_OUTPUT`, "cannot read the outputs: a step has removed $OTTO_OUTPUT"},
		"a_link":           {`ln -sf ` + secret + ` $OTTO_OUTPUT`, "cannot read the outputs: a step has made something else than a file of $OTTO_OUTPUT"},
		"a_link_inside":    {`echo version=1 > x; ln -sf workspace/x $OTTO_OUTPUT`, "cannot read the outputs: a step has made something else than a file of $OTTO_OUTPUT"},
		"a_pipe":           {`rm $OTTO_OUTPUT; mkfifo $OTTO_OUTPUT`, "cannot read the outputs: a step has made something else than a file of $OTTO_OUTPUT"},
		"a_device":         {`ln -sf /dev/zero $OTTO_OUTPUT`, "cannot read the outputs: a step has made something else than a file of $OTTO_OUTPUT"},
		"a_directory":      {`rm $OTTO_OUTPUT; mkdir $OTTO_OUTPUT`, "cannot read the outputs: a step has made something else than a file of $OTTO_OUTPUT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := steps(sh(c.script))
			spec.Outputs = declared()
			rec := s.give(spec)
			result := s.finished(t, rec)
			if result.Outcome != client.Failed || result.Reason != c.want || result.Outputs != nil {
				t.Errorf("got %s, %q, %v", result.Outcome, result.Reason, result.Outputs)
			}
			log := s.logOf(t, rec, result.Log)
			if said := text(log, "agent"); !strings.Contains(said, result.Reason) || strings.Contains(said, "s3cret") {
				t.Errorf("the log says %q", said)
			}
		})
	}
}

// Another directory in the place of the task's own is not looked into.
func TestOutputs_of_another_directory(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, "output"), []byte("version=theirs\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	spec := steps(sh(fmt.Sprintf(`
		echo version=mine >> $OTTO_OUTPUT
		home=$(dirname $OTTO_OUTPUT)
		mv $home %s/away
		ln -s %s $home`, t.TempDir(), elsewhere)))
	spec.Outputs = declared()
	result := s.finished(t, s.give(spec))
	if result.Outputs["version"] != "mine" {
		t.Errorf("got %v, %s", result.Outputs, result.Reason)
	}
}

func TestOutputs_that_are_not_declared(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	result := s.finished(t, s.give(steps(sh("echo a=1 >> $OTTO_OUTPUT"))))
	if result.Outcome != client.Failed || result.Reason != "a step has written outputs, and the task declares none" {
		t.Errorf("got %s, %q", result.Outcome, result.Reason)
	}
}

// What a task had written when it timed out is half of something.
func TestOutputs_of_a_task_that_timed_out(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	spec := steps(sh("printf vers >> $OTTO_OUTPUT; sleep 60"))
	spec.Outputs, spec.TimeoutMS = declared(), 300
	result := s.finished(t, s.give(spec))
	if result.Outcome != client.Failed || result.Reason != "timeout" || result.Outputs != nil {
		t.Errorf("got %s, %q, %v", result.Outcome, result.Reason, result.Outputs)
	}
}

func TestShell(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	run(t, s)
	with := func(script string, argv ...string) client.StepSpec {
		step := sh(script)
		step.Shell = argv
		return step
	}
	lookup := with("true", "nowhere", "-e")
	lookup.AllowFailure = true
	rec := s.give(steps(
		with("echo $-", "/bin/sh"),
		with("echo $-", "sh", "-eu"),
		with("a line for cat\n", "cat"),
		lookup,
	))
	result := s.finished(t, rec)
	if got := states(result.Steps); got != `succeeded 0, succeeded 0, succeeded 0, failed cannot find the shell "nowhere" in the step's PATH` {
		t.Errorf("got %s", got)
	}
	lines := strings.Split(text(s.logOf(t, rec, result.Log), "stdout"), "\n")
	if strings.Contains(lines[0], "e") || !strings.Contains(lines[1], "e") || !strings.Contains(lines[1], "u") || lines[2] != "a line for cat" {
		t.Errorf("got %q", lines)
	}
}

func TestOmittedSteps(t *testing.T) {
	t.Parallel()
	omitted := func(why string, always bool) client.StepSpec {
		step := sh("echo ran")
		step.Omitted, step.Always = why, always
		return step
	}
	s := newServer(t)
	run(t, s)
	t.Run("among_others", func(t *testing.T) {
		rec := s.give(steps(omitted("not on main", false), sh("echo yes"), omitted("no", false), sh("exit 1"), omitted("never", true)))
		result := s.finished(t, rec)
		if got := states(result.Steps); got != "skipped not on main, succeeded 0, skipped no, failed 1, skipped never" {
			t.Errorf("got %s", got)
		}
		if got := text(s.logOf(t, rec, result.Log), "stdout"); got != "yes\n" {
			t.Errorf("the steps wrote %q", got)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		var told []string
		for _, r := range rec.reports {
			told = append(told, fmt.Sprint(r.Index, " ", r.State, " ", r.Reason))
		}
		if want := []string{"0 skipped not on main", "1 running "}; len(told) < 2 || told[0] != want[0] || told[1] != want[1] {
			t.Errorf("the server was told %q", told)
		}
	})
	t.Run("all_of_them", func(t *testing.T) {
		result := s.finished(t, s.give(steps(omitted("a", false), omitted("b", true))))
		if got := states(result.Steps); got != "skipped a, skipped b" || result.Outcome != "" {
			t.Errorf("got %s, %s", got, result.Outcome)
		}
	})
}

func TestImageIsNeverTheHost(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f := run(t, s)
	spec := steps(sh("touch ran"))
	spec.Image = "golang:1.26"
	rec := s.give(spec)
	result := s.finished(t, rec)
	const want = "this agent cannot run containers (it is to use no container engine), and the task is to run in golang:1.26"
	if result.Outcome != client.Failed || result.Reason != want || states(result.Steps) != "skipped" {
		t.Errorf("got %s, %q, %s", result.Outcome, result.Reason, states(result.Steps))
	}
	if _, err := os.Stat(filepath.Join(f.cfg.WorkDir, rec.lease.ID)); !os.IsNotExist(err) {
		t.Errorf("the task had a workspace: %v", err)
	}
	if rec.starts != 0 {
		t.Error("the task was started")
	}
}
