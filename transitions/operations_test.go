package transitions_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var sqlBlock = regexp.MustCompile("(?s)```sql\n(.*?)```")

// Every statement of docs/operations.md runs as written. Those that are marked are refused on our small database.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := sqlBlock.FindAllSubmatch(page, -1)
	if len(blocks) < 15 {
		t.Fatalf("only %d statements found", len(blocks))
	}
	w := newWorld(t)
	run := func() {
		t.Helper()
		for _, block := range blocks {
			statement := string(block[1])
			_, err := w.db.Owner.Exec(w.ctx(), statement)
			if mark, _, ok := strings.Cut(statement, "\n"); ok && strings.HasPrefix(mark, "-- refused: ") {
				want := strings.TrimPrefix(mark, "-- refused: ")
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q from:\n%s", err, want, statement)
				}
			} else if err != nil {
				t.Errorf("%v from:\n%s", err, statement)
			}
		}
	}
	run()
	agent := w.agent(`{"os": "linux"}`)
	w.run(three)
	w.work(agent, nil)
	w.run(parallel)
	w.leaseOne(agent)
	w.run("stages: [{stage: a, requires: {os: plan9}, steps: [{sh: a}]}]")
	run()
}
