package main

import (
	"regexp"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// paintDiagnostics renders diagnostics as String does, with colours where they are wanted.
func paintDiagnostics(s style, diagnostics pipeline.Diagnostics) string {
	if !s.on {
		return diagnostics.String()
	}
	var b strings.Builder
	for _, d := range diagnostics {
		colour := map[pipeline.Severity]string{pipeline.SeverityError: "31;1", pipeline.SeverityWarning: "33;1"}[d.Severity]
		head, rest, _ := strings.Cut(d.String(), "\n")
		word := string(d.Severity) + " " + string(d.Code)
		b.WriteString(strings.Replace(head, word, s.paint(first(colour, "36;1"), word), 1) + "\n")
		for line := range strings.Lines(rest) {
			if caretLine.MatchString(line) {
				line = s.paint(first(colour, "36;1"), strings.TrimRight(line, "\n")) + "\n"
			}
			b.WriteString(line)
		}
	}
	return b.String()
}

var (
	caretLine = regexp.MustCompile(`^ +\| \s*\^+\n$`)
	colours   = regexp.MustCompile("\x1b\\[[0-9;]*m")
)

// stripColours leaves the text that takes up room.
func stripColours(text string) string { return colours.ReplaceAllString(text, "") }
