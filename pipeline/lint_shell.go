package pipeline

import (
	"errors"
	"path"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// script is a step's script, read once for all rules.
type script struct {
	text string
	file *syntax.File
}

// scriptRules are the rules, each of which tells a script at most one thing.
func scriptRules() []func(script) (finding, bool) {
	return []func(script) (finding, bool){
		firstTool, usesSudo, runsDownload, showsSecret, startsWithCd, setsDefault, hidesFailure, leavesProcess,
	}
}

func lintScript(text string) []finding {
	if !isShell(text) {
		return nil
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return shellProblem(text, err)
	}
	var out []finding
	for _, rule := range scriptRules() {
		if f, ok := rule(script{text, file}); ok {
			out = append(out, f)
		}
	}
	return out
}

// isShell tells whether a script is read by a shell: one that names another interpreter is none of our business.
func isShell(text string) bool {
	if !strings.HasPrefix(text, "#!") {
		return true
	}
	line, _, _ := strings.Cut(text, "\n")
	return strings.Contains(line, "sh")
}

func shellProblem(text string, err error) []finding {
	var parse syntax.ParseError
	if !errors.As(err, &parse) {
		return nil
	}
	return []finding{{
		code: badShell, offset: min(int(parse.Pos.Offset()), len(text)), width: 1,
		message: "the script is not valid shell: " + parse.Text,
	}}
}

// at is a finding at a part of the script; what goes on on further lines is not underlined.
func (s script) at(code Code, from, to syntax.Pos) finding {
	start := min(int(from.Offset()), len(s.text))
	end := max(start, min(int(to.Offset()), len(s.text)))
	line, _, _ := strings.Cut(s.text[start:end], "\n")
	return finding{code: code, offset: start, width: utf8.RuneCountInString(line)}
}

// startsWithCd finds a script that goes into a directory of the workspace and stays there.
func startsWithCd(s script) (finding, bool) {
	if len(s.file.Stmts) == 0 {
		return finding{}, false
	}
	first, only := s.file.Stmts[0], len(s.file.Stmts) == 1
	for {
		b, ok := first.Cmd.(*syntax.BinaryCmd)
		if !ok || !bare(first) || b.Op != syntax.AndStmt && (b.Op != syntax.OrStmt || !calls(b.Y, "exit")) {
			break
		}
		only = only && b.Op == syntax.OrStmt
		first = b.X
	}
	args, ok := call(first)
	if !ok || len(args) != 2 || args[0] != "cd" || only || countCalls(s.file, "cd", "pushd", "popd") > 1 {
		return finding{}, false
	}
	dir := path.Clean(args[1])
	if args[1] == "" || dir == "." || strings.HasPrefix(dir, "..") || strings.ContainsAny(dir[:1], "/~-") ||
		strings.ContainsAny(dir, "\\:*?[{") {
		return finding{}, false
	}
	f := s.at(cdFirst, first.Pos(), first.Cmd.End())
	f.message = "the script starts by going into a directory"
	f.suggestion = "write  dir: " + dir + "  beside sh, and leave out the cd"
	return f, true
}

// setsDefault finds a script that starts by asking for what it has: a step runs with -e.
func setsDefault(s script) (finding, bool) {
	if len(s.file.Stmts) == 0 {
		return finding{}, false
	}
	first := s.file.Stmts[0]
	args, ok := call(first)
	if !ok || strings.Join(args, " ") != "set -e" && strings.Join(args, " ") != "set -o errexit" {
		return finding{}, false
	}
	f := s.at(setDefault, first.Pos(), first.Cmd.End())
	f.message = "the script starts as every step does: it ends at the first command that fails"
	f.suggestion = "leave the line out"
	return f, true
}

// hidesFailure finds a script that is one command whose failure it swallows. In a longer script "|| true" is for one
// command of many, which no key of a step can say.
func hidesFailure(s script) (finding, bool) {
	if len(s.file.Stmts) != 1 || !bare(s.file.Stmts[0]) {
		return finding{}, false
	}
	b, ok := s.file.Stmts[0].Cmd.(*syntax.BinaryCmd)
	if !ok || b.Op != syntax.OrStmt || !calls(b.Y, "true") && !calls(b.Y, ":") {
		return finding{}, false
	}
	f := s.at(hiddenFailure, b.OpPos, b.Y.End())
	f.message = "the step hides that its command failed"
	f.suggestion = "write  allow_failure: true  beside sh instead: the failure does not count, and is shown"
	return f, true
}

// leavesProcess finds a script that ends with a process in the background: whatever a step leaves running is killed.
func leavesProcess(s script) (finding, bool) {
	last := -1
	for i, stmt := range s.file.Stmts {
		if stmt.Background {
			last = i
		}
	}
	if last < 0 {
		return finding{}, false
	}
	for _, after := range s.file.Stmts[last+1:] {
		if !calls(after, "sleep") && !calls(after, "echo") && !calls(after, "true") {
			return finding{}, false
		}
	}
	stmt := s.file.Stmts[last]
	f := s.at(leftProcess, stmt.Pos(), stmt.End())
	f.message = "the step ends while this is running in the background, and everything it leaves running is killed"
	f.suggestion = "start it in the step that uses it, or end the script with  wait"
	return f, true
}
