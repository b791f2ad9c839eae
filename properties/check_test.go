// Package properties holds what must be true of every Ottofile: of its plan, and of what its runs do. The files are made at random,
// and so that what they mean is known without the compiler.
package properties

import (
	"os"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// check tries a property until it has held for so many pipelines, or for as many as OTTO_PROPERTIES says; -rapid.checks bounds the
// tries. The property answers how many pipelines it took.
func check(t *testing.T, pipelines int, property func(t *rapid.T) int) {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("OTTO_PROPERTIES")); err == nil {
		pipelines = n
	}
	left, shrinking := pipelines, false
	rapid.Check(t, func(t *rapid.T) {
		if left <= 0 && !shrinking {
			return
		}
		shrinking = true // unless it holds, from now on
		left -= property(t)
		shrinking = false
	})
	t.Logf("held for %d pipelines", pipelines-left)
}
