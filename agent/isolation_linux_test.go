package agent_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/isolation"
)

// at makes an agent isolate everything at a level.
func at(level isolation.Level) func(*agent.Config) {
	return func(c *agent.Config) { c.Isolation = level }
}

// needs skips a test on a machine where what it needs is missing; in CI that is a failure.
func needs(t *testing.T, level isolation.Level) {
	t.Helper()
	missing := ""
	switch {
	case os.Geteuid() != 0:
		missing = "it needs root"
	case level >= isolation.S2 && !onPath("bwrap"):
		t.Fatal("bubblewrap is missing: see scripts/deps")
	}
	switch {
	case missing != "" && os.Getenv("CI") == "true":
		t.Fatal(missing)
	case missing != "":
		t.Skip(missing)
	}
}

func onPath(program string) bool {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if _, err := os.Stat(dir + "/" + program); err == nil {
			return true
		}
	}
	return false
}

// What a step needs to work with is there at every level.
func TestStepsWorkAtEveryLevel(t *testing.T) {
	t.Parallel()
	for level := isolation.S1; level <= isolation.S3; level++ {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			needs(t, level)
			s := newServer(t)
			run(t, s, at(level))
			spec := steps(sh(`
				echo "$HOME $TMPDIR $OTTO_WORKSPACE $(pwd) $(id -un)"
				echo kept >file && echo in >"$HOME/x" && echo tmp >/tmp/y && : >/dev/null && ls /proc/self/fd | wc -l
				echo answer=42 >>"$OTTO_OUTPUT"`),
				sh(`cat file "$HOME/x" /tmp/y; exit 3`), sh(`kill -9 $$`))
			spec.Outputs = map[string]string{"answer": "string"}
			rec := s.give(spec)
			result := s.finished(t, rec)
			log := s.logOf(t, rec, result.Log)
			want := fmt.Sprintf("%[1]s/home %[1]s/tmp %[1]s/workspace %[1]s/workspace otto-task\n4\nkept\nin\ntmp\n", isolation.Home)
			if got := text(log, "stdout"); got != want {
				t.Errorf("got %q\nwant %q\n%s", got, want, text(log, "stderr"))
			}
			killed := "failed 137 signal SIGKILL"
			if level >= isolation.S2 {
				killed = "failed 137" // process 1 of its namespace tells it as a shell does
			}
			if got := states(result.Steps); got != "succeeded 0, unstable 3, "+killed {
				t.Errorf("got %s", got)
			}
			if result.Outputs["answer"] != "42" {
				t.Errorf("got outputs %v", result.Outputs)
			}
		})
	}
}
