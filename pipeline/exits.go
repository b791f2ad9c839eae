package pipeline

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Outcomes of a step, by exit code.
const (
	outcomeSucceeded = "succeeded"
	outcomeFailed    = "failed"
	outcomeAborted   = "aborted"
	outcomeUnstable  = "unstable"
)

// defaultExits is what exit codes mean when nobody says otherwise; every other code means failed.
func defaultExits() []struct{ code, outcome string } {
	return []struct{ code, outcome string }{
		{"0", outcomeSucceeded}, {"1", outcomeFailed}, {"2", outcomeAborted}, {"3", outcomeUnstable},
	}
}

// spellings are the words for outcomes that are read, in any case; the first of each is the one that is written.
func spellings() [][]string {
	return [][]string{
		{outcomeSucceeded, "success", "successful"},
		{outcomeFailed, "failure", "fail"},
		{outcomeAborted, "abort", "cancelled", "canceled"},
		{outcomeUnstable},
	}
}

// outcome gives our word for an outcome, however an ancestor spelt it.
func outcome(text string) (string, bool) {
	for _, words := range spellings() {
		for _, w := range words {
			if strings.EqualFold(w, text) {
				return words[0], true
			}
		}
	}
	return "", false
}

var exitText = regexp.MustCompile(`^(0|[1-9][0-9]{0,2})$`)

// exitCode reads 0 to 255 as a process can end with.
func exitCode(text string) (int, bool) {
	if !exitText.MatchString(text) {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n <= 255
}

// exitCodes reads a table from exit code to outcome.
func (d *decoder) exitCodes(n *node) []exitDecl {
	if !d.want(n, mappingKind, "exit_codes") {
		return nil
	}
	out := make([]exitDecl, 0, len(n.pairs))
	for _, p := range n.pairs {
		if _, ok := exitCode(p.key.text); !ok {
			d.add(badExitCode, p.key.at, "%q is not an exit code", shorten(p.key.text, 40)).Suggestion = "exit codes are 0 to 255"
			continue
		}
		v, ok := d.str(p.value, "an outcome")
		if !ok {
			continue
		}
		ours, ok := outcome(v.v)
		if !ok {
			x := d.add(unknownOutcome, v.at.at, "the outcome %q is unknown", shorten(v.v, 40))
			x.Suggestion = "the outcomes are succeeded, failed, aborted and unstable"
			if near := nearest(v.v, []string{outcomeSucceeded, outcomeFailed, outcomeAborted, outcomeUnstable}); near != "" {
				x.Suggestion = fmt.Sprintf("did you mean %q? %s", near, x.Suggestion)
			}
			continue
		}
		out = append(out, exitDecl{p.key.text, val[string]{ours, v.at}})
	}
	return out
}
