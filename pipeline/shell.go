package pipeline

import (
	"errors"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// The bounds of reading scripts: the parser is recursive, and a plan is only as fast as its slowest script.
const (
	maxCheckedScript  = 32 << 10
	maxCheckedScripts = 512 << 10
	maxParentheses    = 500 // the parser is quadratic in open ones
)

// lintScripts looks into the scripts of a file for what surely or probably is a mistake. A script never is an error:
// the shell on the agent knows more than this parser.
func lintScripts(r *report, f *fileDecl) {
	l := linter{report: r, known: map[string]lint{}}
	l.steps(f.steps)
	for _, s := range slices.Concat(f.stages, f.always) {
		l.steps(s.task.steps)
		for _, t := range s.tasks {
			l.steps(t.steps)
		}
	}
}

type linter struct {
	*report
	known map[string]lint // by script: an alias may use one a hundred times
	spent int
	told  bool
}

// lint is what a script is told.
type lint struct {
	problem string // why it is not shell
	tool    string // the first that uses 2 for "error"
	offset  int    // of the problem or the tool
}

func (l *linter) steps(steps []stepDecl) {
	for i := range steps {
		if steps[i].sh.at != nil {
			l.step(&steps[i])
		}
	}
}

func (l *linter) step(s *stepDecl) {
	script := s.sh.v
	found, ok := l.known[script]
	if !ok {
		l.spent += len(script)
		if len(script) > maxCheckedScript || l.spent > maxCheckedScripts || strings.Count(script, "(") > maxParentheses {
			if !l.told {
				l.add(notChecked, s.sh.at.at, "scripts are too long to be checked from here on").
					Suggestion = "move them into files of the repository and call them"
			}
			l.told = true
			return
		}
		found = lintScript(script)
		l.known[script] = found
	}
	switch {
	case found.problem != "":
		l.add(badShell, l.src.within(s.sh.at, found.offset, 1), "the script is not valid shell: %s", found.problem)
	case found.tool != "" && !s.remapsTwo:
		l.add(exitTwo, l.src.within(s.sh.at, found.offset, len(found.tool)),
			"%s ends with 2 on errors, which Otto reads as aborted", found.tool).
			Suggestion = "write  exit_codes: {2: failed}  in the step, its task or the file"
	}
}

func lintScript(script string) lint {
	if !isShell(script) {
		return lint{}
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		return shellProblem(script, err)
	}
	return firstTool(file)
}

// firstTool finds the first call of a tool that ends with 2 on errors, where that can become the script's own exit
// code: not where a condition, "||" or "!" takes it as an answer.
func firstTool(file *syntax.File) lint {
	var found lint
	answered := map[*syntax.Stmt]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.IfClause:
			mark(answered, n.Cond...)
		case *syntax.WhileClause:
			mark(answered, n.Cond...)
		case *syntax.BinaryCmd:
			if n.Op == syntax.OrStmt {
				mark(answered, n.X)
			}
		case *syntax.Stmt:
			return found.tool == "" && !n.Negated && !answered[n]
		case *syntax.CallExpr:
			if len(n.Args) > 0 && found.tool == "" && usesTwo(n.Args[0].Lit()) {
				found = lint{tool: n.Args[0].Lit(), offset: int(n.Pos().Offset())}
			}
		}
		return found.tool == ""
	})
	return found
}

func mark(set map[*syntax.Stmt]bool, stmts ...*syntax.Stmt) {
	for _, s := range stmts {
		set[s] = true
	}
}

// usesTwo tells the tools whose exit code 2 is an error.
func usesTwo(command string) bool {
	switch command {
	case "make", "gmake", "grep", "egrep", "fgrep", "diff":
		return true
	}
	return false
}

// isShell tells whether a script is read by a shell: one that names another interpreter is none of our business.
func isShell(script string) bool {
	if !strings.HasPrefix(script, "#!") {
		return true
	}
	line, _, _ := strings.Cut(script, "\n")
	return strings.Contains(line, "sh")
}

func shellProblem(script string, err error) lint {
	var parse syntax.ParseError
	if !errors.As(err, &parse) {
		return lint{}
	}
	return lint{problem: parse.Text, offset: min(int(parse.Pos.Offset()), len(script))}
}
