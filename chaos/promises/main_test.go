package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each row gets what came of its tests; other tables, and other text, stay as they are.
func TestFill(t *testing.T) {
	t.Parallel()
	const page = "# Page\n\n" +
		"| promise | tests | state | last result |\n|---|---|---|---|\n" +
		"| one | `a.TestX` `a/b.TestY` | proved | old |\n" +
		"| two | `a.TestX` `a.TestZ` | partly: a \\| b | |\n" +
		"| three | `a.TestSkipped` `a.TestX` | proved | |\n" +
		"| four | | not yet | 1 of 1 passed 2000-01-01 |\n" +
		"\n| other | tests |\n|---|---|\n| `a.TestZ` | x |\n"
	const want = "# Page\n\n" +
		"| promise | tests | state | last result |\n|---|---|---|---|\n" +
		"| one | `a.TestX` `a/b.TestY` | proved | 2 of 2 passed 2026-01-02 |\n" +
		"| two | `a.TestX` `a.TestZ` | partly: a \\| b | failed: TestZ 2026-01-02 |\n" +
		"| three | `a.TestSkipped` `a.TestX` | proved | 1 of 2 passed, 1 skipped 2026-01-02 |\n" +
		"| four | | not yet |  |\n" +
		"\n| other | tests |\n|---|---|\n| `a.TestZ` | x |\n"
	results := map[test]string{{"a", "TestX"}: "pass", {"a/b", "TestY"}: "pass", {"a", "TestSkipped"}: "skip"}
	got, failed := fill(page, results, "2026-01-02")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if failed != 1 {
		t.Errorf("%d rows failed, want 1", failed)
	}
}
