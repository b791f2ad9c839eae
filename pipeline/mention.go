package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// mention is a place in an expression that reads a value: event.pull_request.draft, outputs["build web"].version, changed("web/**").
type mention struct {
	expr   ast.Expr // the outermost part, whose value is known after evaluation
	path   []string // the name, and the constant keys that follow it
	text   string   // as people write it
	offset int      // of its first byte in the expression
	call   bool     // of changed or hash

	has, optional bool // it asks whether the value is there, or takes it only if it is
}

// mentions lists what an expression reads, in the order of the text.
func mentions(a *cel.Ast) []mention {
	return mentionsOf(a.NativeRep().Expr(), a.NativeRep().SourceInfo(), a.Source().Content())
}

func mentionsOf(e ast.Expr, info *ast.SourceInfo, text string) []mention {
	w := mentionWalk{info: info, text: text}
	w.walk(e)
	slices.SortStableFunc(w.found, func(a, b mention) int { return a.offset - b.offset })
	return w.found
}

// hiddenNames refuses loops whose variable has the name of something else, which nobody could read any more.
func hiddenNames(a *cel.Ast) []exprProblem {
	var out []exprProblem
	w := mentionWalk{info: a.NativeRep().SourceInfo(), text: a.Source().Content()}
	ast.PreOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.ComprehensionKind {
			return
		}
		for _, name := range []string{e.AsComprehension().IterVar(), e.AsComprehension().IterVar2()} {
			if slices.Contains(exprNames(), name) {
				out = append(out, exprProblem{code: exprUnknownName, message: fmt.Sprintf("the variable of a loop cannot be called %s, which stands for something else", name),
					offset: w.offset(e), width: 1, suggestion: "give it another name"})
			}
		}
	}))
	return out
}

type mentionWalk struct {
	info  *ast.SourceInfo
	text  string
	found []mention
}

func (w *mentionWalk) walk(e ast.Expr) {
	if m, ok := w.mention(e); ok {
		m.expr = e
		w.found = append(w.found, m)
		return
	}
	switch e.Kind() {
	case ast.SelectKind:
		w.walk(e.AsSelect().Operand())
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			w.walk(call.Target())
		}
		for _, arg := range call.Args() {
			w.walk(arg)
		}
	case ast.ListKind:
		for _, item := range e.AsList().Elements() {
			w.walk(item)
		}
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			w.walk(entry.AsMapEntry().Key())
			w.walk(entry.AsMapEntry().Value())
		}
	case ast.ComprehensionKind:
		c := e.AsComprehension()
		for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
			w.walk(part)
		}
	}
}

// mention reads a name with the constant keys behind it, or a call of one of our functions.
func (w *mentionWalk) mention(e ast.Expr) (mention, bool) {
	switch e.Kind() {
	case ast.IdentKind:
		name := e.AsIdent()
		return mention{path: []string{name}, text: name, offset: w.offset(e)}, slices.Contains(exprNames(), name)
	case ast.SelectKind:
		s := e.AsSelect()
		m, ok := w.mention(s.Operand())
		m.path, m.text = append(m.path, s.FieldName()), m.text+"."+s.FieldName()
		if s.IsTestOnly() {
			m.text, m.has = "has("+m.text+")", true
		}
		return m, ok
	case ast.CallKind:
		return w.called(e.AsCall(), e)
	}
	return mention{}, false
}

func (w *mentionWalk) called(call ast.CallExpr, e ast.Expr) (mention, bool) {
	switch name := call.FunctionName(); name {
	case operators.Index, operators.OptIndex, operators.OptSelect:
		m, ok := w.mention(call.Args()[0])
		key, constant := stringLiteral(call.Args()[1])
		if !ok || !constant {
			return mention{}, false
		}
		m.path, m.text, m.optional = append(m.path, key), m.text+"["+strconv.Quote(key)+"]", m.optional || name != operators.Index
		return m, true
	case "changed", "hash":
		m := mention{path: []string{name}, offset: max(0, w.offset(e)-len(name)), call: true}
		quoted := make([]string, 0, len(call.Args()))
		for _, arg := range call.Args() {
			glob, constant := stringLiteral(arg)
			if !constant {
				return mention{}, false
			}
			m.path, quoted = append(m.path, glob), append(quoted, strconv.Quote(glob))
		}
		m.text = name + "(" + strings.Join(quoted, ", ") + ")"
		return m, true
	}
	return mention{}, false
}

func stringLiteral(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

// offset is the byte at which a part starts; the library counts characters.
func (w *mentionWalk) offset(e ast.Expr) int {
	r, ok := w.info.GetOffsetRange(e.ID())
	if !ok {
		return 0
	}
	at := 0
	for range r.Start {
		_, size := utf8.DecodeRuneInString(w.text[at:])
		if size == 0 {
			break
		}
		at += size
	}
	return at
}
