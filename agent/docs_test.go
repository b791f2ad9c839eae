package agent_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The driver in docs/agents.md works as it is written there.
func TestDriverOfTheDocs(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: scripts/deps test installs it", err)
		}
	}
	page, err := os.ReadFile("../docs/agents.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```")
	script, ok := strings.CutPrefix(blocks[len(blocks)-2], "sh\n")
	if !ok {
		t.Fatal("the page no longer ends with a script")
	}
	s := newServer(t)
	rec := s.give(steps(sh("unused")))
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TOKEN=otto_agent_x", "OTTO_URL="+s.URL, "NO_PROXY=127.0.0.1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	result := s.finished(t, rec)
	if got := text(s.logOf(t, rec, result.Log), "stdout"); got != "hello\n" || states(result.Steps) != "succeeded 0" || s.calls["bye"] != 1 {
		t.Errorf("got %q, %+v", got, result)
	}
}
