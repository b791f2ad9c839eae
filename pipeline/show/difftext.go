package show

import (
	"fmt"
	"slices"
	"strings"
)

// EffectText says an effect in a line: what it is about, and what it was and is.
func EffectText(e Effect) string { return clean(effectText(e)) }

func effectText(e Effect) string {
	subject := subjectOf(e)
	switch e.Kind {
	case EffectAdded, EffectRemoved:
		text := subject + " is " + map[EffectKind]string{EffectAdded: "new", EffectRemoved: "gone"}[e.Kind]
		if word, ok := e.After.(string); ok && word != "runs" {
			text += ", and " + word + prefixed(": ", e.Why)
		}
		return text
	case EffectMoved:
		if e.Task != "" && e.Step == "" {
			return fmt.Sprintf("%s is moved from stage %s to stage %s", subject, e.Before, e.After)
		}
		return fmt.Sprintf("%s is moved from place %v to %v", subject, e.Before, e.After)
	case EffectRenamed:
		return fmt.Sprintf("task %v is now called %v", e.Before, e.After)
	case EffectRuns, EffectOmitted, EffectLater:
		return fmt.Sprintf("%s %v, and now %v%s", subject, past(e.Before), e.After, prefixed(": ", e.Why))
	}
	return fmt.Sprintf("%s: %s → %s", strings.TrimSpace(subject+" "+e.Field), sideText(e.Before), sideText(e.After))
}

func subjectOf(e Effect) string {
	switch {
	case e.Step != "":
		return "task " + e.Task + ", step " + oneLine(e.Step)
	case e.Task != "":
		return "task " + e.Task
	case e.Stage != "":
		return "stage " + e.Stage
	}
	return "plan"
}

// past says what a part did before.
func past(word any) string {
	switch word {
	case "runs":
		return "ran"
	case "does not run":
		return "did not run"
	}
	return "was decided later"
}

// sideWidth is how much of a value a line shows.
const sideWidth = 80

// sideText writes one of two values.
func sideText(v any) string {
	if v == nil {
		return "nothing"
	}
	text, ok := v.(string)
	if n := strings.Count(strings.TrimRight(text, "\n"), "\n"); n > 0 {
		return fmt.Sprintf("%d lines", n+1)
	}
	text = strings.TrimRight(text, "\n")
	if !ok {
		text = valueText(v)
	} else {
		text = quoted(text)
	}
	if runes := []rune(text); len(runes) > sideWidth {
		return string(runes[:sideWidth-1]) + "…"
	}
	return text
}

// LinesDiff lists the lines that differ, each behind - or +. What both have at the start and the end is left out.
func LinesDiff(before, after string) []string {
	was, is := strings.Split(strings.TrimRight(before, "\n"), "\n"), strings.Split(strings.TrimRight(after, "\n"), "\n")
	for len(was) > 0 && len(is) > 0 && was[0] == is[0] {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	mark := func(sign string, lines []string) []string {
		out := make([]string, len(lines))
		for i, line := range lines {
			out[i] = sign + " " + clean(line)
		}
		return out
	}
	return slices.Concat(mark("-", was), mark("+", is))
}
