package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/ottoci/otto/client"
)

// taskView writes the log of one attempt of a task, with a heading for each step.
type taskView struct {
	lane  *lane
	style style
	steps []client.Step // names, by index

	began  int64 // when the step began, in ms since the task did
	step   int
	open   bool // the step has begun and not ended
	late   bool // the agent stops the step because its time is over; the end in the log does not say so
	tail   tail
	failed []*failedStep
}

// failedStep is what the summary repeats of a step that went wrong.
type failedStep struct {
	name  string
	state string
	exit  *int   // nil if it never ran
	how   string // as outcomeText says it
	lines []string
	at    int  // the place of its last line on the screen
	last  bool // it is still the last thing on the screen, and need not be repeated
}

func (v *taskView) add(p client.LogRecord) {
	switch p.Kind {
	case client.SegmentBegin:
		v.begin(p)
	case client.SegmentEnd:
		v.end(p)
	case client.SegmentAgent:
		for line := range strings.Lines(string(p.Bytes())) {
			v.lane.line(v.style.dim(strings.TrimRight(line, "\n")))
			v.tail.write([]byte(line))
			v.late = v.late || strings.HasSuffix(line, " timed out\n")
		}
	default:
		v.lane.write(p.Bytes())
		v.tail.write(p.Bytes())
	}
}

func (v *taskView) begin(p client.LogRecord) {
	v.step, v.began, v.open, v.late = p.Step, p.AtMS, true, false
	v.tail = tail{}
	v.lane.line(v.style.paint("36", "→ ") + v.style.bold(v.name(p.Step)))
}

func (v *taskView) end(p client.LogRecord) {
	v.ended(client.Step{Index: p.Step, State: p.State, ExitCode: p.ExitCode, DurationMS: p.AtMS - v.began})
}

// breakOff ends a step whose end is not in the log: its agent was lost, or stopped before it had sent everything.
func (v *taskView) breakOff(steps []client.Step) {
	for _, s := range steps {
		if v.open && s.Index == v.step && client.Final(s.State) {
			v.ended(s)
		}
	}
}

func (v *taskView) ended(s client.Step) {
	v.open = false
	took := duration(time.Duration(s.DurationMS) * time.Millisecond)
	if s.DurationMS == 0 && s.FinishedAt != nil { // its agent did not live to measure it
		took = between(s.StartedAt, s.FinishedAt)
	}
	if s.State == client.Succeeded {
		v.lane.line(v.style.mark(s.State) + " " + v.style.dim(took))
		return
	}
	if v.late && s.State == client.Failed {
		s.Reason = reasonTimeout
	}
	outcome := outcomeText(s.State, s.Reason, s.ExitCode)
	how := outcome
	if s.Reason == reasonTimeout {
		how += " after " + took
	} else if s.ExitCode == nil {
		outcome += prefixed(": ", s.Reason)
	}
	at := v.lane.line(v.style.mark(s.State) + " " + v.style.paint(stateColour(s.State), outcome) + v.style.dim(" after "+took))
	v.failed = append(v.failed, &failedStep{name: v.name(s.Index), state: s.State, exit: s.ExitCode, how: how, lines: v.tail.lines(), at: at})
}

func (v *taskView) name(step int) string {
	for _, s := range v.steps {
		if s.Index == step {
			return s.Name
		}
	}
	return fmt.Sprintf("step %d", step+1)
}

// reasonTimeout is the reason of a step or task whose time was over; what signal ended it then says nothing.
const reasonTimeout = "timeout"

// outcomeText says how a step or task ended: "failed: exit code 1".
func outcomeText(state, reason string, code *int) string {
	switch {
	case reason == reasonTimeout:
		return "timed out"
	case code == nil:
		return state
	case *code > 128 && *code < 160:
		return fmt.Sprintf("%s: killed by signal %d", state, *code-128)
	}
	return fmt.Sprintf("%s: exit code %d", state, *code)
}

// tail keeps the last lines of what is written to it.
type tail struct{ kept []byte }

const (
	tailLines = 15
	tailBytes = 16 << 10
)

func (t *tail) write(text []byte) {
	t.kept = append(t.kept, text...)
	if len(t.kept) > 2*tailBytes {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailBytes:]...)
	}
}

func (t *tail) lines() []string {
	var out []string
	for line := range bytes.Lines(t.kept) {
		out = append(out, strings.TrimRight(string(overwritten(line)), "\r\n"))
	}
	return out[max(0, len(out)-tailLines):]
}
