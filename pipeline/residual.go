package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// residual gives what is left of an expression, in terms of what only the run knows: everything else is written in as its
// value. What it gives is known to compile where the run decides.
func (x *exprs) residual(c *compiledExpr, details *cel.EvalDetails, s *scope) (string, error) {
	pruned, err := x.env.ResidualAst(c.ast, details)
	if err != nil {
		return "", fmt.Errorf("write what is left of it: %w", err)
	}
	tree := pruned.NativeRep()
	f := &filling{exprs: x, scope: s, info: tree.SourceInfo()}
	f.tree(tree.Expr(), pruned.Source().Content())
	// The text is made of the calls of macros as they were written, which share only some of their parts with the tree.
	calls := f.info.MacroCalls()
	for _, id := range sortedInts(calls) {
		if call := calls[id]; call.Kind() == ast.CallKind && call.AsCall().FunctionName() != "has" {
			f.tree(call, pruned.Source().Content())
		}
	}
	if f.err != nil {
		return "", f.err
	}
	text, err := cel.AstToString(pruned)
	if err != nil {
		return "", fmt.Errorf("write what is left of it: %w", err)
	}
	text = f.fill(text)
	return text, x.checkResidual(text)
}

func sortedInts[V any](m map[int64]V) []int64 {
	out := make([]int64, 0, len(m))
	for id := range m {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// checkResidual compiles what is left as the run will.
func (x *exprs) checkResidual(text string) error {
	if x.run == nil {
		run, err := newRunExprs()
		if err != nil {
			return err
		}
		x.run = run
	}
	if c := x.run.compile(text); len(c.problems) > 0 {
		return fmt.Errorf("what is left of it for the run cannot be used: %s", c.problems[0].message)
	}
	return nil
}

// filling puts values into what is left of an expression. It names their places, and replaces the names in the text: a value
// may be a text of the language itself.
type filling struct {
	*exprs
	scope *scope
	info  *ast.SourceInfo
	texts []string
	err   error
}

const fillingName = "otto__value__"

func (f *filling) tree(e ast.Expr, text string) {
	fac := ast.NewExprFactory()
	for _, m := range mentionsOf(e, f.info, text) {
		stands, ok, err := f.standsFor(m)
		if err != nil && f.err == nil {
			f.err = err
		}
		if !ok || err != nil {
			continue
		}
		name := fac.NewIdent(0, fillingName+strconv.Itoa(len(f.texts)))
		f.texts = append(f.texts, stands)
		if _, macro := f.info.GetMacroCall(m.expr.ID()); macro {
			f.info.SetMacroCall(m.expr.ID(), name)
		}
		m.expr.SetKindCase(name)
	}
}

// standsFor is the text of what an expression reads, unless the run knows it.
func (f *filling) standsFor(m mention) (text string, ok bool, err error) {
	root := m.path[0]
	switch {
	case m.call:
		v := f.files.call(root, m.path[1:])
		if err, bad := v.Value().(error); bad {
			return "", false, err
		}
		text, err = celText(v.Value())
		return text, true, err
	case slices.Contains(f.scope.lateRoot, root):
		return "", false, nil
	case root == nameEnv && len(m.path) == 1 && len(f.scope.lateEnv) > 0:
		return "", false, fmt.Errorf("some variables are known only when the run gets there: name one, as in env.%s", first(sortedKeys(f.scope.lateEnv)))
	}
	if late, isLate := f.scope.lateEnv[last(m.path)]; isLate && root == nameEnv && len(m.path) == 2 {
		switch {
		case m.has:
			return "true", true, nil
		case m.optional:
			return "optional.of(" + late + ")", true, nil
		}
		if strings.Contains(late, " + ") {
			late = "(" + late + ")"
		}
		return late, true, nil
	}
	v, found := look(f.scope.known, m.path)
	switch {
	case m.has:
		return strconv.FormatBool(found), true, nil
	case m.optional && !found:
		return "optional.none()", true, nil
	case !found:
		return "", false, fmt.Errorf("there is no %q", last(m.path))
	}
	text, err = celText(v)
	if m.optional {
		text = "optional.of(" + text + ")"
	}
	return text, true, err
}

// fill replaces the names of places. What stands in quotes is a value already.
func (f *filling) fill(text string) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		switch {
		case text[i] == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			b.WriteString(text[i:end])
			i = end
		case strings.HasPrefix(text[i:], fillingName):
			i += len(fillingName)
			end := i
			for end < len(text) && text[end] >= '0' && text[end] <= '9' {
				end++
			}
			if n, err := strconv.Atoi(text[i:end]); err == nil && n < len(f.texts) {
				b.WriteString(f.texts[n])
			}
			i = end
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return b.String()
}

func last(path []string) string { return path[len(path)-1] }

// look follows a path through known values.
func look(known map[string]any, path []string) (v any, found bool) {
	v = known
	for _, key := range path {
		switch m := v.(type) {
		case map[string]any:
			v, found = m[key]
		case map[string]string:
			v, found = m[key]
		default:
			return nil, false
		}
		if !found {
			return nil, false
		}
	}
	return v, true
}

// celText writes a value in the language of expressions.
func celText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "null", nil
	case string:
		return strconv.Quote(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case int64:
		if v < 0 {
			return fmt.Sprintf("(%d)", v), nil
		}
		return strconv.FormatInt(v, 10), nil
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".eIN") {
			text += ".0"
		}
		if v < 0 {
			text = "(" + text + ")"
		}
		return text, nil
	case []string:
		return celList(v)
	case []any:
		return celList(v)
	case map[string]string:
		return celMap(v)
	case map[string]any:
		return celMap(v)
	}
	return "", fmt.Errorf("a value of type %T cannot be part of what is decided later", v)
}

func celList[T any](items []T) (string, error) {
	texts := make([]string, 0, len(items))
	for _, item := range items {
		text, err := celText(any(item))
		if err != nil {
			return "", err
		}
		texts = append(texts, text)
	}
	return "[" + strings.Join(texts, ", ") + "]", nil
}

func celMap[T any](m map[string]T) (string, error) {
	texts := make([]string, 0, len(m))
	for _, key := range sortedKeys(m) {
		text, err := celText(any(m[key]))
		if err != nil {
			return "", err
		}
		texts = append(texts, strconv.Quote(key)+": "+text)
	}
	return "{" + strings.Join(texts, ", ") + "}", nil
}

// asText declares text(x), which writes a value as ${{ }} does: a number without an exponent, nothing for null; and what an output of
// type json holds as JSON, since its form is known only now.
func asText() cel.EnvOption {
	return cel.Function("text", cel.Overload("text_any", []*cel.Type{cel.DynType}, cel.StringType, cel.UnaryBinding(func(v ref.Val) ref.Val {
		value, err := native(v)
		if err != nil {
			return types.NewErr("%v", err)
		}
		if k := kindOf(value); k == listKind || k == mappingKind {
			body, err := json.Marshal(value)
			if err != nil {
				return types.NewErr("a text cannot be made of it: %v", err)
			}
			return types.String(body)
		}
		text, err := plainText(value)
		if err != nil {
			return types.NewErr("a text cannot be made of it: %v", err)
		}
		return types.String(text)
	})))
}
