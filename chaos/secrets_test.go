package main

import (
	"strings"
	"testing"
)

// A token is found wherever the pieces in which it arrives are cut.
func TestLeak(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("x", 300) + "otto_user_0123456789abcdef" + strings.Repeat("y", 300)
	for piece := 1; piece <= len(text); piece++ {
		var l leak
		for rest := text; rest != ""; {
			n := min(piece, len(rest))
			_, _ = l.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if !l.found {
			t.Errorf("not found in pieces of %d bytes", piece)
		}
	}
	var clean leak
	_, _ = clean.Write([]byte(strings.Replace(text, "otto_user", "otto user", 1)))
	if clean.found {
		t.Error("found where there is none")
	}
}
