package transitions_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const statesPage = "../docs/states.md"

const statesIntro = "# States\n\n" +
	"Generated from `transitions/matrix.golden` (`make gen`), which a test makes by calling every transition from every state.\n" +
	"What is not drawn is refused. A run and its stages move when a task does, in the same transaction; the matrix shows the\n" +
	"smallest run, of one stage with one task, so there an abort of what has not started ends the run at once.\n"

// docs/states.md draws what the matrix says.
func TestDiagram(t *testing.T) {
	t.Parallel()
	matrix, err := os.ReadFile("matrix.golden")
	if err != nil {
		t.Fatal(err)
	}
	page := statesIntro
	for _, entity := range []string{"run", "stage", "task", "agent", "auction", "award", "orchestrator"} {
		page += fmt.Sprintf("\n## %s%s\n\n```mermaid\nstateDiagram-v2\n%s```\n", strings.ToUpper(entity[:1]), entity[1:], edges(string(matrix), entity))
	}
	if *update {
		if err := os.WriteFile(statesPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(statesPage); err != nil || string(got) != page {
		t.Errorf("docs/states.md is not what the matrix says: run make gen (%v)", err)
	}
}

// edges draws the moves that change a state, those between the same two states on one arrow.
func edges(matrix, entity string) string {
	var order []string
	labels := map[string][]string{}
	for line := range strings.Lines(matrix) {
		move, result, _ := strings.Cut(line, " "+entity+" ")
		from, rest, ok := strings.Cut(result, "→")
		if !ok {
			continue
		}
		from, to := strings.TrimSpace(from), strings.Fields(rest)[0]
		if from == to || strings.HasPrefix(to, "OT") {
			continue
		}
		if from == "–" {
			from = "[*]"
		}
		arrow := from + " --> " + to
		if labels[arrow] == nil {
			order = append(order, arrow)
		}
		labels[arrow] = append(labels[arrow], strings.Join(strings.Fields(move), " "))
	}
	var b strings.Builder
	for _, arrow := range order {
		fmt.Fprintf(&b, "    %s: %s\n", arrow, strings.Join(labels[arrow], ", "))
	}
	return b.String()
}
