package pipeline

import (
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
)

// exprProblem is what is wrong with an expression, and at which byte of it.
type exprProblem struct {
	code       Code
	message    string
	offset     int
	width      int
	suggestion string
}

var (
	undeclaredName = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	undefinedField = regexp.MustCompile(`^undefined field '([^']*)'`)
	noOverload     = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
	operatorOfName = regexp.MustCompile(`^_?(.+?)_?$`)
)

// explain turns the library's errors into ours: it knows the names of this file, and says what people can do.
func (x *exprs) explain(text string, issues *cel.Issues, code Code) []exprProblem {
	var out []exprProblem
	for _, e := range issues.Errors() {
		p := exprProblem{code: code, message: e.Message, offset: textOffset(text, e.Location.Line(), e.Location.Column()), width: 1}
		switch {
		case code == exprSyntax:
			p.message, p.suggestion = syntaxMessage(text, e.Message)
		case undeclaredName.MatchString(e.Message):
			x.explainName(&p, undeclaredName.FindStringSubmatch(e.Message)[1])
		case undefinedField.MatchString(e.Message):
			x.explainField(&p, text, undefinedField.FindStringSubmatch(e.Message)[1])
		case noOverload.MatchString(e.Message):
			m := noOverload.FindStringSubmatch(e.Message)
			p.message = fmt.Sprintf("%s does not apply to %s", operatorOfName.FindStringSubmatch(m[1])[1], strings.ReplaceAll(strings.Trim(m[2], "()"), "otto.", ""))
			p.suggestion = "convert one side with string(…), int(…) or bool(…)"
		}
		if out = append(out, p); code == exprSyntax {
			break // what follows a syntax error is mostly its echo
		}
	}
	return out
}

// syntaxMessage makes one sentence of the parser's report, which lists the tokens that it would have taken.
func syntaxMessage(text, message string) (said, suggestion string) {
	message = strings.TrimPrefix(message, "Syntax error: ")
	if i := strings.Index(message, " expecting "); i >= 0 && len(message) > 80 {
		message = message[:i]
	}
	message = strings.ReplaceAll(message, "<EOF>", "the end")
	message = strings.ReplaceAll(message, "token recognition error at: ", "nothing is written ")
	suggestion = `expressions are CEL: branch == "main" && params.deploy`
	switch {
	case strings.Contains(text, " and ") || strings.Contains(text, " or ") || strings.HasPrefix(text, "not "):
		suggestion = "write && for and, || for or, ! for not"
	case regexp.MustCompile(`[^=!<>]=[^=]`).MatchString(text):
		suggestion = "write == to compare"
	}
	return "the expression is not CEL: " + message, suggestion
}

// explainName says which name was probably meant.
func (x *exprs) explainName(p *exprProblem, name string) {
	p.code, p.width = exprUnknownName, max(1, len(name))
	p.message = fmt.Sprintf("the name %q is unknown", name)
	p.suggestion = "there are " + strings.Join(exprNames(), ", ") + ", changed(…) and hash(…)"
	if near := nearest(name, append(exprNames(), "changed", "hash", "true", "false")); near != "" {
		p.suggestion = fmt.Sprintf("did you mean %q?", near)
	} else if x.fields.fields == nil {
		p.suggestion = "there are outputs and status"
	} else if _, isParam := x.fields.fields[typeParams][name]; isParam {
		p.suggestion = fmt.Sprintf("did you mean %q?", nameParams+"."+name)
	}
}

// explainField says which field was probably meant. The library points at the dot before it.
func (x *exprs) explainField(p *exprProblem, text, field string) {
	p.code, p.width = exprUnknownName, max(1, len(field))
	owner, fields := nameParams, x.fields.fields[typeParams]
	for typ, name := range map[string]string{typeEvent: nameEvent, typePullRequest: "event.pull_request", typeUpstream: "event.upstream"} {
		before := strings.TrimRight(text[:min(len(text), p.offset)], " ?.")
		if strings.HasSuffix(before, name[strings.LastIndexByte(name, '.')+1:]) {
			owner, fields = name, x.fields.fields[typ]
		}
	}
	if i := strings.Index(text[min(len(text), p.offset):], field); i >= 0 {
		p.offset += i
	}
	p.message = fmt.Sprintf("%s has no %q", owner, field)
	known := slices.Sorted(maps.Keys(fields))
	switch near := nearest(field, known); {
	case near != "":
		p.suggestion = fmt.Sprintf("did you mean %q?", owner+"."+near)
	case len(known) > 0:
		p.suggestion = "it has " + strings.Join(known, ", ")
	case owner == nameParams:
		p.suggestion = "declare it:  params: { " + field + ": { type: string } }"
	}
}

// textOffset is the byte at a line (from 1) and column (from 0, in characters) of a text.
func textOffset(text string, line, column int) int {
	at := 0
	for range line - 1 {
		i := strings.IndexByte(text[at:], '\n')
		if i < 0 {
			return at
		}
		at += i + 1
	}
	for i := range text[at:] {
		if column <= 0 {
			return at + i
		}
		column--
	}
	return len(text)
}

// tooCostly tells whether the form of an expression lets it take longer than anything a pipeline needs.
func (c *compiledExpr) tooCostly(env *cel.Env) bool {
	estimate, err := env.EstimateCost(c.ast, exprSizes{})
	return err == nil && estimate.Max > maxExprCost && estimate.Max != math.MaxUint64 || err == nil && estimate.Min > maxExprCost
}

// exprSizes assumes a size for what the names stand for.
type exprSizes struct{}

// EstimateSize bounds texts, lists and maps.
func (exprSizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	switch n.Type().Kind() {
	case types.StringKind, types.ListKind, types.MapKind, types.DynKind:
		return &cost.SizeEstimate{Max: exprTextSize}
	}
	return nil
}

// EstimateCallCost charges a look at the source.
func (exprSizes) EstimateCallCost(function, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	if function == "changed" || function == "hash" {
		return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1000, Max: 1000}}
	}
	return nil
}
