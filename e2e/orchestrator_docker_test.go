package e2e

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent/enginetest"
	"github.com/ottoci/otto/orchestrator"
)

// The orchestrator of containers keeps every rule that the conformance test plays, and leaves no container. All of it runs in the network
// of the test's engine, where containers of the host's network find the server.
func TestDockerOrchestratorConforms(t *testing.T) {
	t.Parallel()
	e := enginetest.Start(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	const image = "otto-agent:test"
	e.Image(t, image, append(enginetest.BusyboxFiles(t), libraries(t, bin)...))
	cmd := exec.CommandContext(t.Context(), "nsenter", "--net="+e.NetworkPath(), bin, "orchestrator", "conformance", "--verbose", "--",
		bin, "orchestrator", "docker", "--docker-host", e.Host, "--image", image, "--program", bin, "--network", "host", "--idle", "1s", "--limit", "3")
	cmd.Env = os.Environ()
	var talk strings.Builder
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, out, &talk)
	}
	for _, rule := range []string{"serves", "bids", "killed", "leaves"} {
		if !strings.Contains(string(out), "✓ "+rule+" ") {
			t.Errorf("rule %s was not played:\n%s", rule, out)
		}
	}
	if left := e.Left(t, orchestrator.LabelOrchestrator); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// libraries are what a program needs in an image that has none: those that it was linked against.
func libraries(t *testing.T, program string) (files []enginetest.File) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	if err != nil {
		return nil // it is linked statically
	}
	for _, path := range regexp.MustCompile(`/\S+\.so\S*`).FindAllString(string(out), -1) {
		body, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, enginetest.File{Name: path, Mode: 0o755, Body: string(body)})
	}
	return files
}
