package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// bare tells whether a statement is no more than its command: not negated, redirected or in the background.
func bare(s *syntax.Stmt) bool {
	return !s.Negated && !s.Background && !s.Coprocess && len(s.Redirs) == 0
}

// call gives the words of a statement that is one call with words that are known ahead.
func call(s *syntax.Stmt) (words []string, ok bool) {
	c, isCall := s.Cmd.(*syntax.CallExpr)
	if !isCall || !bare(s) || len(c.Assigns) > 0 {
		return nil, false
	}
	for _, w := range c.Args {
		text, known := wordText(w.Parts)
		if !known {
			return nil, false
		}
		words = append(words, text)
	}
	return words, len(words) > 0
}

// wordText is a word without its quotes, if nothing in it is expanded.
func wordText(parts []syntax.WordPart) (string, bool) {
	var b strings.Builder
	for _, p := range parts {
		switch p := p.(type) {
		case *syntax.Lit:
			b.WriteString(p.Value)
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			text, ok := wordText(p.Parts)
			if !ok {
				return "", false
			}
			b.WriteString(text)
		default:
			return "", false
		}
	}
	return b.String(), true
}

// command is the name of what a statement calls; "" if it is no call, or the name is not known ahead.
func command(s *syntax.Stmt) string {
	if c, ok := s.Cmd.(*syntax.CallExpr); ok && len(c.Args) > 0 {
		return c.Args[0].Lit()
	}
	return ""
}

func calls(s *syntax.Stmt, name string) bool { return bare(s) && command(s) == name }

func countCalls(file *syntax.File, names ...string) int {
	n := 0
	syntax.Walk(file, func(node syntax.Node) bool {
		if s, ok := node.(*syntax.Stmt); ok && slices.Contains(names, command(s)) {
			n++
		}
		return true
	})
	return n
}

// firstTool finds the first call of a tool that ends with 2 on errors, where that can become the script's own exit
// code: not where a condition, "||" or "!" takes it as an answer.
func firstTool(s script) (found finding, ok bool) {
	answered := map[*syntax.Stmt]bool{}
	syntax.Walk(s.file, func(n syntax.Node) bool {
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
			return !ok && !n.Negated && !answered[n]
		case *syntax.CallExpr:
			if len(n.Args) > 0 && !ok && usesTwo(n.Args[0].Lit()) {
				ok = true
				found = s.at(exitTwo, n.Args[0].Pos(), n.Args[0].End())
				found.message = n.Args[0].Lit() + " ends with 2 on errors, which Otto reads as aborted"
				found.suggestion = "write  exit_codes: {2: failed}  in the step, its task or the file"
			}
		}
		return !ok
	})
	return found, ok
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

func usesSudo(s script) (found finding, ok bool) {
	syntax.Walk(s.file, func(n syntax.Node) bool {
		c, isCall := n.(*syntax.CallExpr)
		if isCall && !ok && len(c.Args) > 0 && (c.Args[0].Lit() == "sudo" || c.Args[0].Lit() == "doas") {
			ok = true
			found = s.at(sudoUsed, c.Args[0].Pos(), c.Args[0].End())
			found.message = c.Args[0].Lit() + " changes the agent's machine, and with it every task that runs there later"
			found.suggestion = "prepare the agents, and ask for them with  requires"
		}
		return !ok
	})
	return found, ok
}

// runsDownload finds a program that is run as it comes in: curl | sh, sh -c "$(curl …)", sh <(curl …).
func runsDownload(s script) (found finding, ok bool) {
	inner := map[*syntax.Stmt]bool{} // pipes that start a longer one, which has been looked at
	syntax.Walk(s.file, func(n syntax.Node) bool {
		if ok {
			return false
		}
		switch n := n.(type) {
		case *syntax.Stmt:
			if b, isPipe := n.Cmd.(*syntax.BinaryCmd); isPipe && b.Op == syntax.Pipe && !inner[n] {
				ok = pipesProgram(n, inner)
			}
		case *syntax.CallExpr:
			program := programWord(n.Args)
			ok = program != nil && isDownload(program)
		}
		if ok {
			found = s.at(pipedDownload, n.Pos(), n.End())
			found.message = "this runs whatever the other side sends, or the part of it that arrives"
			found.suggestion = "download it into a file, compare its checksum, and run that; or keep it in the repository"
		}
		return !ok
	})
	return found, ok
}

// pipesProgram tells whether a pipe starts with a download and runs what comes of it.
func pipesProgram(pipe *syntax.Stmt, inner map[*syntax.Stmt]bool) bool {
	runs := false
	for {
		b, ok := pipe.Cmd.(*syntax.BinaryCmd)
		if !ok || b.Op != syntax.Pipe {
			return runs && downloads(pipe)
		}
		runs = runs || readsProgram(b.Y)
		pipe = b.X
		inner[pipe] = true
	}
}

func downloads(s *syntax.Stmt) bool { return command(s) == "curl" || command(s) == "wget" }

// readsProgram tells whether a statement runs what it reads: an interpreter that is given no program otherwise.
func readsProgram(s *syntax.Stmt) bool {
	c, ok := s.Cmd.(*syntax.CallExpr)
	if !ok {
		return false
	}
	args := c.Args
	if len(args) > 1 && args[0].Lit() == "sudo" {
		args = args[1:]
	}
	if len(args) == 0 || !interprets(args[0].Lit()) {
		return false
	}
	for _, a := range args[1:] {
		switch text := a.Lit(); {
		case text == "-" || text == "-s":
			return true
		case text == "-c" || text == "-m" || !strings.HasPrefix(text, "-"):
			return false
		}
	}
	return true
}

func interprets(command string) bool {
	switch command {
	case "sh", "bash", "dash", "zsh", "ksh", "python", "python3", "perl", "ruby", "node", "eval", "source", ".":
		return true
	}
	return false
}

// programWord is the word of a call that says what an interpreter runs; nil if the call is none.
func programWord(args []*syntax.Word) *syntax.Word {
	if len(args) == 0 || !interprets(args[0].Lit()) {
		return nil
	}
	for _, a := range args[1:] {
		if !strings.HasPrefix(a.Lit(), "-") {
			return a
		}
	}
	return nil
}

// isDownload tells whether a word is made of what a download gives.
func isDownload(w *syntax.Word) bool {
	found := false
	syntax.Walk(w, func(n syntax.Node) bool {
		var stmts []*syntax.Stmt
		switch n := n.(type) {
		case *syntax.CmdSubst:
			stmts = n.Stmts
		case *syntax.ProcSubst:
			stmts = n.Stmts
		}
		found = found || slices.ContainsFunc(stmts, downloads)
		return !found
	})
	return found
}

var secretName = regexp.MustCompile(
	`(?i)(^|_)(token|secret|password|passwd|passphrase|api_?key|private_?key|access_?key|credentials?)(_[0-9]+)?$`)

// showsSecret finds an echo of a variable whose name says that it is a secret, where its output ends in the log: not in
// a pipe, a file or another variable.
func showsSecret(s script) (found finding, ok bool) {
	elsewhere := map[*syntax.Stmt]bool{}
	syntax.Walk(s.file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CmdSubst, *syntax.ProcSubst:
			return false
		case *syntax.BinaryCmd:
			if n.Op == syntax.Pipe || n.Op == syntax.PipeAll {
				mark(elsewhere, n.X)
			}
		case *syntax.Stmt:
			if ok || elsewhere[n] || slices.ContainsFunc(n.Redirs, takesStdout) {
				return false
			}
			var shown *syntax.ParamExp
			if shown, ok = shownSecret(n); ok {
				found = s.at(secretInLog, shown.Pos(), shown.End())
				found.message = fmt.Sprintf("%s writes %s into the log, and its name says that it is a secret", command(n), shown.Param.Value)
				found.suggestion = fmt.Sprintf("to see whether it is there, print  ${%s:+set}", shown.Param.Value)
			}
		}
		return !ok
	})
	return found, ok
}

// takesStdout tells a redirection that keeps standard output out of the log.
func takesStdout(r *syntax.Redirect) bool {
	switch r.Op {
	case syntax.RdrOut, syntax.AppOut, syntax.RdrClob, syntax.RdrAll, syntax.AppAll:
		return r.N == nil || r.N.Value == "1"
	}
	return false
}

// shownSecret is the first variable with a secret's name that an echo or printf writes as it is.
func shownSecret(s *syntax.Stmt) (*syntax.ParamExp, bool) {
	c, ok := s.Cmd.(*syntax.CallExpr)
	if !ok || len(c.Args) < 2 || command(s) != "echo" && command(s) != "printf" || c.Args[1].Lit() == "-v" {
		return nil, false
	}
	for _, w := range c.Args[1:] {
		if p := secretIn(w.Parts); p != nil {
			return p, true
		}
	}
	return nil, false
}

// secretIn is the first variable with a secret's name that a word gives; nil if there is none.
func secretIn(parts []syntax.WordPart) *syntax.ParamExp {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.DblQuoted:
			if secret := secretIn(p.Parts); secret != nil {
				return secret
			}
		case *syntax.ParamExp:
			if p.Param != nil && secretName.MatchString(p.Param.Value) && printsWhole(p) {
				return p
			}
		}
	}
	return nil
}

// printsWhole tells whether an expansion gives the variable's value: not its length, a piece of it, or another word.
func printsWhole(p *syntax.ParamExp) bool {
	if p.Length || p.Excl || p.Slice != nil || p.Repl != nil {
		return false
	}
	return p.Exp == nil || p.Exp.Op != syntax.AlternateUnset && p.Exp.Op != syntax.AlternateUnsetOrNull
}
