package conventions

import (
	"fmt"
	"strings"
)

// The bounds of what is listed for people: who wants all of it reads the JSON.
const (
	maxCovers  = 3
	maxLeftOut = 12
)

// Reason says in one line what the marker stands for: "go.mod → go vet ./..., go test ./...".
func (f Finding) Reason() string {
	var scripts []string
	for _, step := range f.Task.Steps {
		scripts = append(scripts, step.Sh)
	}
	return shown(f.Marker) + " → " + strings.Join(scripts, ", ")
}

// Details are the lines below the reason: what decided, and what else the task covers.
func (f Finding) Details() []string {
	var out []string
	for _, note := range f.Notes {
		out = append(out, shown(note))
	}
	if n := len(f.Covers); n > 0 {
		var names []string
		for _, name := range f.Covers[:min(n, maxCovers)] {
			names = append(names, shown(name))
		}
		line := "covers " + strings.Join(names, ", ")
		if n > maxCovers {
			line += fmt.Sprintf(" and %d more", n-maxCovers)
		}
		out = append(out, line)
	}
	return out
}

// Reasons says for people, line by line, what was found and what was left out.
func (p Proposal) Reasons() []string {
	var out []string
	for _, f := range p.Findings {
		out = append(out, f.Reason())
		for _, line := range f.Details() {
			out = append(out, "  "+line)
		}
	}
	for i, l := range p.LeftOut {
		if i == maxLeftOut {
			out = append(out, fmt.Sprintf("and %d more are left out", len(p.LeftOut)-i))
			break
		}
		out = append(out, fmt.Sprintf("%s is left out: %s", shown(l.Path), l.Why))
	}
	return out
}

// Ottofile writes the proposal as an Ottofile, or nothing if nothing was found.
func (p Proposal) Ottofile() []byte {
	if len(p.Findings) == 0 {
		return nil
	}
	var w writer
	w.line(0, "# Proposed by otto init, from what is in this tree:")
	w.line(0, "#")
	for _, line := range p.Reasons() {
		// A comment "otto: allow" silences warnings: the name of a file must not.
		w.line(0, "#   %s", strings.ReplaceAll(line, "otto:", "otto :"))
	}
	w.line(0, "")
	if p.Name != "" {
		w.line(0, "name: %s", quote(p.Name))
	}
	w.line(0, "exit_codes: { 2: failed, 3: failed } # to tools they are errors, to Otto aborted and unstable")
	w.line(0, "")
	w.line(0, "stages:")
	var checks, images []Task
	for _, f := range p.Findings {
		if f.Task.Docker {
			images = append(images, f.Task)
		} else {
			checks = append(checks, f.Task)
		}
	}
	w.stage("checks", checks)
	if len(checks) > 0 && len(images) > 0 {
		w.line(0, "")
	}
	w.stage("images", images)
	return []byte(w.String())
}

// writer writes YAML, two spaces a level.
type writer struct{ strings.Builder }

func (w *writer) line(depth int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text != "" {
		w.WriteString(strings.Repeat("  ", depth))
	}
	w.WriteString(text + "\n")
}

// stage writes tasks that run together; a single one is a stage itself.
func (w *writer) stage(name string, tasks []Task) {
	switch len(tasks) {
	case 0:
	case 1:
		w.line(1, "- stage: %s", quote(tasks[0].Name))
		w.task(2, tasks[0])
	default:
		w.line(1, "- name: %s", name)
		w.line(2, "parallel:")
		for i, t := range tasks {
			if i > 0 {
				w.line(0, "")
			}
			w.line(3, "- task: %s", quote(t.Name))
			w.task(4, t)
		}
	}
}

func (w *writer) task(depth int, t Task) {
	if t.Docker {
		w.line(depth, "requires: { docker: true }")
	}
	w.line(depth, "timeout: %dm", t.Minutes)
	if len(t.Env) > 0 {
		w.line(depth, "env:")
		for _, v := range t.Env {
			w.line(depth+1, "%s: %s", v.Name, quote(v.Value))
		}
	}
	w.line(depth, "steps:")
	for _, step := range t.Steps {
		w.line(depth+1, "- sh: %s", quote(step.Sh))
		if step.Dir != "." {
			w.line(depth+2, "dir: %s", quote(step.Dir))
		}
	}
}
