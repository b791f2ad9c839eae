package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/ottoci/otto/client"
)

// summary writes what became of a run: one row for each stage and task, then what a failure needs.
type summary struct {
	strings.Builder
	style style
	run   client.RunDetail
	// failed are the steps that went wrong, by task, as far as their log was seen.
	failed map[int64][]*failedStep
	steps  bool // a row for each step, too
}

// row is a line of the table.
type row struct {
	depth                   int
	state, name, time, note string
}

func (s *summary) write() {
	r := s.run
	outcome, reason := r.State, r.Reason
	if strings.HasPrefix(reason, outcome) { // "aborted by Ctrl-C"
		outcome, reason = reason, ""
	}
	fmt.Fprintf(s, "\n%s %s", s.style.mark(r.State), s.style.paint(stateColour(r.State), fmt.Sprintf("run %d %s", r.Run.Run, outcome)))
	if took := between(r.StartedAt, r.FinishedAt); took != "" && client.Final(r.State) {
		s.WriteString(" in " + took)
	}
	if r.State != client.Succeeded {
		s.WriteString(prefixed(": ", reason))
	}
	if r.Warnings {
		s.WriteString(s.style.paint("33", ", with warnings"))
	}
	s.WriteString("\n")
	s.table()
	for _, d := range r.Diagnostics {
		if r.State == client.Failed && d.Severity == "error" {
			fmt.Fprintf(s, "%s:%d:%d: %s %s: %s\n", d.File, d.Line, d.Column, d.Severity, d.Code, d.Message)
		}
	}
}

func (s *summary) table() {
	rows := s.rows()
	if len(rows) == 0 {
		return
	}
	s.WriteString("\n")
	width := 0
	for _, r := range rows {
		width = max(width, 2*r.depth+len([]rune(r.name)))
	}
	for _, r := range rows {
		pad := strings.Repeat(" ", width-2*r.depth-len([]rune(r.name)))
		line := fmt.Sprintf("  %s%s %s%s  %10s  %s", strings.Repeat("  ", r.depth), s.style.mark(r.state), r.name, pad, r.time, r.note)
		s.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// rows lists stages and tasks; a stage that is one task of its own name is one row.
func (s *summary) rows() []row {
	var rows []row
	for _, stage := range s.run.Stages {
		if len(stage.Tasks) == 1 && stage.Tasks[0].Name == stage.Name {
			rows = append(append(rows, s.task(0, stage.Tasks[0])), s.stepsOf(1, stage.Tasks[0])...)
			continue
		}
		rows = append(rows, row{0, stage.State, stage.Name, between(stage.StartedAt, stage.FinishedAt), s.note(stage.State, "")})
		for _, t := range stage.Tasks {
			rows = append(append(rows, s.task(1, t)), s.stepsOf(2, t)...)
		}
	}
	return rows
}

func (s *summary) task(depth int, t client.Task) row {
	note := s.note(t.State, first(t.WaitingFor, t.Reason))
	if late := lateStep(t); late != nil || t.Reason == reasonTimeout {
		note = s.style.paint(stateColour(t.State), timedOut(late))
	} else if t.ExitCode != nil && *t.ExitCode != 0 && t.State != client.Aborted {
		note = s.style.paint(stateColour(t.State), outcomeText(t.State, t.Reason, t.ExitCode)) + s.style.dim(prefixed(", ", t.Reason))
	}
	if t.AllowFailure && (t.State == client.Failed || t.State == client.Unstable || t.State == client.Aborted) {
		note += s.style.dim(" (allowed)")
	}
	if t.Attempt > 1 {
		if note != "" {
			note += s.style.dim(", ")
		}
		note += s.style.dim(fmt.Sprintf("attempt %d", t.Attempt))
	}
	if s.steps && t.Isolation > "S0" {
		if note != "" {
			note += s.style.dim(", ")
		}
		note += s.style.dim("isolation " + t.Isolation)
	}
	if s.steps && t.Warm {
		if note != "" {
			note += s.style.dim(", ")
		}
		note += s.style.dim("warm agent " + t.Agent)
	}
	return row{depth, t.State, t.Name, between(t.StartedAt, t.FinishedAt), strings.TrimLeft(note, " ")}
}

// lateStep is the step whose timeout decided a task's result: the first that failed, if it has the task's exit code.
func lateStep(t client.Task) *client.Step {
	for i, step := range t.Steps {
		if step.State != client.Failed || t.State != client.Failed {
			continue
		}
		if step.Reason == reasonTimeout && t.ExitCode != nil && step.ExitCode != nil && *step.ExitCode == *t.ExitCode {
			return &t.Steps[i]
		}
		return nil
	}
	return nil
}

func timedOut(step *client.Step) string {
	if step == nil {
		return outcomeText(client.Failed, reasonTimeout, nil)
	}
	took := duration(time.Duration(step.DurationMS) * time.Millisecond)
	return outcomeText(step.State, step.Reason, step.ExitCode) + " after " + took
}

// stepsOf lists the steps of a task, if they are wanted.
func (s *summary) stepsOf(depth int, t client.Task) (rows []row) {
	if !s.steps {
		return nil
	}
	for _, step := range t.Steps {
		note := s.note(step.State, step.Reason)
		if step.Reason == reasonTimeout {
			note = s.style.paint(stateColour(step.State), timedOut(&step))
		} else if step.ExitCode != nil && *step.ExitCode != 0 {
			note = s.style.paint(stateColour(step.State), outcomeText(step.State, step.Reason, step.ExitCode)) + s.style.dim(prefixed(", ", step.Reason))
		}
		rows = append(rows, row{depth, step.State, step.Name, between(step.StartedAt, step.FinishedAt), note})
	}
	return rows
}

// note says a state in a word where the mark alone would not do, with its reason.
func (s *summary) note(state, reason string) string {
	if state == client.Succeeded {
		return ""
	}
	word := s.style.state(state)
	switch {
	case reason == "", reason == client.ReasonRun: // the run itself says by whom
		return word
	case strings.HasPrefix(reason, state): // "aborted by Ctrl-C"
		return s.style.paint(stateColour(state), reason)
	case client.Final(state):
		return word + s.style.dim(prefixed(": ", client.ReasonText(reason)))
	}
	return word + s.style.dim(", waits for "+reason)
}

// failures repeats the end of what the failing steps have said.
func (s *summary) failures() {
	for _, stage := range s.run.Stages {
		for _, t := range stage.Tasks {
			f := deciding(t, s.failed[t.Task])
			if f == nil || f.last || t.State == client.Succeeded || t.AllowFailure || t.Reason == client.ReasonSibling {
				continue
			}
			silence := ""
			if len(f.lines) == 0 {
				silence = " (it wrote nothing)"
			}
			head := s.style.paint(stateColour(f.state), fmt.Sprintf("%s: %s %s", t.Name, f.name, f.how))
			fmt.Fprintf(s, "\n%s%s\n", head, silence)
			for _, line := range f.lines {
				fmt.Fprintf(s, "  %s\n", line)
			}
		}
	}
}

// deciding is the step that a task failed by: the first with its outcome and exit code, for others may have been allowed to fail.
func deciding(t client.Task, failed []*failedStep) *failedStep {
	for _, f := range failed {
		if f.state == t.State && (f.exit == nil) == (t.ExitCode == nil) && (f.exit == nil || *f.exit == *t.ExitCode) {
			return f
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return failed[0]
}

// hints say how to go on.
func (s *summary) hints() {
	n := s.run.Run.Run
	s.WriteString("\n")
	hint := func(command, what string) {
		fmt.Fprintf(s, "%s %s\n", s.style.bold(fmt.Sprintf("%-16s", command)), s.style.dim(what))
	}
	hint(fmt.Sprintf("otto logs %d", n), "the whole output")
	hint(fmt.Sprintf("otto show %d", n), "each step, and why")
	if s.run.State == client.Failed || s.run.State == client.Aborted {
		hint(fmt.Sprintf("otto rerun %d", n), "the same again")
	}
}
