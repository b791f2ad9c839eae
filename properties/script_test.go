package properties

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// scripted is a step as far as its end depends on it.
type scripted struct {
	lines                         []string
	omitted, always, allowFailure bool
	exits                         map[string]string
}

// attempt is how an attempt at a task went.
type attempt struct {
	epoch   int
	states  []string // of its steps
	codes   []int
	outcome string
	code    int // of the step that decided the outcome, or -1
	outputs map[string]any
	ordered string // the reason of the order that ended it, or ""
	cut     int    // the step during which the order came, or -1
	late    string // the variable LATE
}

var severities = []string{"skipped", "succeeded", "unstable", "aborted", "failed"}

func severity(state string) int { return slices.Index(severities, state) }

// play runs steps without a shell: those after a failure are skipped unless they say always, and so are those after an order to
// stop, which comes during step cut.
func play(steps []scripted, epoch, cut int) attempt {
	a := attempt{epoch: epoch, code: -1, cut: cut, outputs: map[string]any{}, states: make([]string, len(steps)), codes: make([]int, len(steps))}
	halted, worst, decisive := false, 0, 0
	for i, s := range steps {
		stopped := cut >= 0 && i > cut
		switch {
		case s.omitted || (halted || stopped) && !s.always:
			a.states[i] = "skipped"
			continue
		case i == cut:
			a.states[i] = "aborted"
		default:
			a.codes[i] = exitOf(s.lines, epoch, a.outputs)
			a.states[i] = s.exits[strconv.Itoa(a.codes[i])]
			if a.states[i] == "" {
				a.states[i] = "failed"
			}
		}
		effective := severity(a.states[i])
		if s.allowFailure && effective > 1 {
			effective = 1
		}
		halted = halted || effective > 2
		worst = max(worst, effective)
		if !s.allowFailure && severity(a.states[i]) > decisive && i != cut {
			decisive, a.code = severity(a.states[i]), a.codes[i]
		}
	}
	a.outcome = severities[worst]
	return a
}

// firstFails is a line that fails in the first attempt only, and firstSays one that writes an output only then.
const (
	firstFails = `[ "$OTTO_ATTEMPT" -gt 1 ] || exit 1`
	firstSays  = `[ "$OTTO_ATTEMPT" -gt 1 ] || echo 'v=one' >> "$OTTO_OUTPUT"`
)

var outputLine = regexp.MustCompile(`^echo '(.*)' >> "\$OTTO_OUTPUT"$`)

// exitOf is the exit code of a script, which may write outputs.
func exitOf(lines []string, epoch int, outputs map[string]any) int {
	for _, line := range lines {
		if rest, first := strings.CutPrefix(line, `[ "$OTTO_ATTEMPT" -gt 1 ] || `); first {
			if epoch > 1 {
				continue
			}
			line = rest
		}
		if m := outputLine.FindStringSubmatch(line); m != nil {
			write(outputs, m[1])
		}
		if code, exits := strings.CutPrefix(line, "exit "); exits {
			n, _ := strconv.Atoi(code)
			return n
		}
	}
	return 0
}

// write takes over a line of outputs, of the types that tasks declare.
func write(outputs map[string]any, text string) {
	var said struct {
		N int  `json:"n"`
		B bool `json:"b"`
	}
	switch name, value, _ := strings.Cut(text, "="); {
	case json.Unmarshal([]byte(text), &said) == nil:
		outputs["n"], outputs["b"] = said.N, said.B
	case name == "n":
		outputs[name], _ = strconv.Atoi(value)
	default:
		outputs[name] = value
	}
}

// meant are the steps of a leg, by its file: what is omitted depends on the scene.
func (f *ottofile) meant(l leg, s scene) []scripted {
	out := make([]scripted, 0, len(l.steps))
	for _, step := range l.steps {
		exits := map[string]string{"0": "succeeded", "1": "failed", "2": "aborted", "3": "unstable"}
		for _, layer := range []map[int]string{f.exits, l.exits, step.exits} {
			for code, means := range layer {
				exits[strconv.Itoa(code)] = means
			}
		}
		out = append(out, scripted{lines: step.lines, omitted: step.when.judge(s) == no, always: step.always, allowFailure: step.allowFailure, exits: exits})
	}
	return out
}

// again says whether a failed attempt is followed by another one, after so many retries.
func (f *ottofile) again(l leg, a attempt, retried int) bool {
	r := l.retries
	if r == nil {
		r = f.retries
	}
	if r == nil || a.outcome != "failed" || a.ordered != "" || retried >= r.limit {
		return false
	}
	on := r.on
	if r.on == nil && r.exit == nil {
		on = []string{"failed", "timeout"}
	}
	return slices.Contains(on, "failed") || slices.Contains(r.exit, a.code)
}
