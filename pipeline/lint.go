package pipeline

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxScriptLines is how long a script may get before it is better off in a file of its own.
const maxScriptLines = 20

// The bounds of reading scripts: the parser is recursive, and a plan is only as fast as its slowest script.
const (
	maxCheckedScript  = 32 << 10
	maxCheckedScripts = 512 << 10
	maxParentheses    = 500 // the parser is quadratic in open ones
)

// lintFile looks for bad habits: what is legal, and surely or probably not what was meant, or not the best way to say
// it. None is an error: the shell on the agent knows more than our parser, and people know more than a rule.
func lintFile(r *report, f *fileDecl, p *Plan) {
	l := linter{report: r, known: map[string][]finding{}}
	for _, s := range slices.Concat(f.stages, f.onFailure, f.always) {
		for _, t := range s.listing() {
			l.steps(t)
		}
	}
	l.timeouts(p)
	l.uselessAllows()
}

type linter struct {
	*report
	known map[string][]finding // by script: an alias may use one a hundred times
	spent int
	told  bool
}

// finding is what a script is told, at a place in it.
type finding struct {
	code       Code
	offset     int // in bytes
	width      int // in characters
	message    string
	suggestion string
}

func (l *linter) steps(t *taskDecl) {
	for i := range t.steps {
		if t.steps[i].sh.at != nil {
			l.step(t, &t.steps[i])
		}
	}
}

func (l *linter) step(t *taskDecl, s *stepDecl) {
	if n := spokenLines(s.sh.v); n > maxScriptLines && len(s.sh.v) <= maxCheckedScript {
		l.add(longScript, s.sh.at.at, "the script has %d lines; up to %d are easy to read here", n, maxScriptLines).
			Suggestion = "move it into a file of the repository and call it: there it can be run, checked and tested by hand"
	}
	if program := s.shell.misses(s.sh.v); program != "" {
		l.add(deafShebang, s.sh.at.at, "the script begins with #!, and %s runs it instead of %s", s.shell.name(), shorten(program, 60)).
			Suggestion = "write  shell: " + asShell(program) + "  in the step"
		return // it is probably of another language than the one that we would read it in
	}
	if !s.shell.isShell() {
		return
	}
	for _, f := range l.findings(s) {
		switch {
		case f.code == exitTwo && s.remapsTwo, f.code == cdFirst && s.dir.at != nil:
		case f.code == setDefault && !s.shell.stopsAtFailure():
		case f.code == sudoUsed && t.image.name.at != nil: // the container ends with its task
		default:
			l.add(f.code, l.src.within(s.sh.at, f.offset, f.width), "%s", f.message).Suggestion = f.suggestion
		}
	}
}

// findings is what a step's script is told; nothing if it is too long to be looked into.
func (l *linter) findings(s *stepDecl) []finding {
	script := s.sh.v
	if found, ok := l.known[script]; ok {
		return found
	}
	l.spent += len(script)
	if len(script) > maxCheckedScript || l.spent > maxCheckedScripts || strings.Count(script, "(") > maxParentheses {
		if !l.told {
			l.add(notChecked, s.sh.at.at, "scripts are too long to be checked from here on").
				Suggestion = "move them into files of the repository and call them"
		}
		l.told = true
		return nil
	}
	l.known[script] = lintScript(script)
	return l.known[script]
}

// asShell is how a step's shell is written that is a program: shells go on after a failure unless they are told.
func asShell(program string) string {
	program = shorten(program, 60)
	if (shellDecl{words: []string{program}}).isShell() {
		return program + " -e"
	}
	return program
}

// isShell tells whether the command that gets a script is a shell, whose language we know.
func (s shellDecl) isShell() bool {
	return len(s.words) == 0 || slices.Contains([]string{"sh", "bash", "dash", "ash", "ksh", "zsh"}, path.Base(s.words[0]))
}

// name is the program that gets a script.
func (s shellDecl) name() string {
	if len(s.words) == 0 {
		return "sh"
	}
	return path.Base(s.words[0])
}

// misses is the program that the first line of a script names, where another one runs it: the line is a comment for that one.
func (s shellDecl) misses(script string) string {
	line, _, _ := strings.Cut(script, "\n")
	words := strings.Fields(strings.TrimPrefix(line, "#!"))
	if !strings.HasPrefix(line, "#!") || len(words) == 0 {
		return ""
	}
	if path.Base(words[0]) == "env" {
		words = slices.DeleteFunc(words[1:], func(w string) bool { return strings.HasPrefix(w, "-") || strings.Contains(w, "=") })
	}
	if len(words) == 0 || path.Base(words[0]) == s.name() {
		return ""
	}
	return path.Base(words[0])
}

// stopsAtFailure tells whether a shell ends at the first command that fails, without being told by the script.
func (s shellDecl) stopsAtFailure() bool {
	return len(s.words) == 0 || slices.ContainsFunc(s.words[1:], func(w string) bool {
		return strings.HasPrefix(w, "-") && !strings.HasPrefix(w, "--") && strings.Contains(w, "e")
	})
}

// spokenLines counts the lines of a script that are neither blank nor comments.
func spokenLines(script string) int {
	n := 0
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

// timeouts tells the tasks that have no timeout in a file where most have one: there it was forgotten. Elsewhere the
// default is a fine answer, and a hint for each task would be noise. It reads the plan, which knows who said what.
func (l *linter) timeouts(p *Plan) {
	said := 0
	var without []string
	for i, s := range p.Stages {
		for j := range s.Tasks {
			ptr := fmt.Sprintf("/stages/%d/tasks/%d", i, j)
			if p.Origins[ptr+"/timeout_ms"].Kind == originDefault {
				without = append(without, ptr)
			} else {
				said++
			}
		}
	}
	if said <= len(without) {
		return
	}
	for _, ptr := range without {
		name := p.Origins[ptr+"/name"]
		if name.File != l.src.name {
			continue
		}
		at := span{line: name.Line, column: name.Column, width: l.src.wordWidth(name.Line, name.Column)}
		l.add(noTimeout, at, "the task has no timeout, as most tasks of this file do, and so may take 1h").
			Suggestion = "write  timeout: 10m  in the task, or what it needs at most"
	}
}

// wordWidth is how many characters of the plain or quoted value that starts at a place stand on its line.
func (s *source) wordWidth(line, column int) int {
	text := s.line(line)
	rest := strings.TrimPrefix(text, prefix(text, column-1))
	if end := strings.IndexAny(rest, ",}#\n"); end >= 0 {
		rest = rest[:end]
	}
	return utf8.RuneCountInString(strings.TrimRight(rest, " \t"))
}
