package pipeline

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// The bounds of an expression. Cost is counted in steps of evaluation, roughly a tenth of a microsecond each.
const (
	maxExprBytes     = 4 << 10
	maxResidualBytes = 64 << 10  // with the values that it is compared with
	maxExprCost      = 1_000_000 // that it may have by its form, with values of the sizes below
	maxExprSteps     = 200_000   // that one evaluation may take
	exprTextSize     = 200       // the size that the estimate assumes of texts and lists
	maxFileSteps     = 3_000_000 // that all evaluations of a file may take
	maxExprs         = 3000      // of different texts in a file: reading one takes longer than working it out
	maxAllBytes      = 256 << 10 // of these texts together
	maxFunctionGlobs = 5
)

// The names that an expression may use, beside functions.
const (
	nameParams      = "params"
	nameEvent       = "event"
	nameBranch      = "branch"
	nameTag         = "tag"
	nameSHA         = "sha"
	nameRef         = "ref"
	nameMatrix      = "matrix"
	nameEnv         = "env"
	nameEnvironment = "environment"
	nameOutputs     = "outputs" // of tasks before: known when the run gets there
	nameStatus      = "status"  // of the run so far, likewise
	nameInputs      = "inputs"  // of the template that the expression stands in
)

func exprNames() []string {
	return []string{nameParams, nameEvent, nameBranch, nameTag, nameSHA, nameRef, nameMatrix, nameEnv, nameEnvironment, nameOutputs, nameStatus, nameInputs}
}

// language of expressions: CEL with the names above, and changed and hash over the source.
type exprs struct {
	env      *cel.Env
	files    fileFunctions
	fields   *celTypes
	compiled map[string]*compiledExpr
	maxBytes int
	bytes    int    // of different expressions
	spent    uint64 // steps of evaluation
	run      *exprs // the language of what is left for the run, see checkResidual
}

// compiledExpr is an expression that has passed its checks, or what is wrong with it.
type compiledExpr struct {
	text     string
	ast      *cel.Ast
	program  cel.Program
	mentions []mention
	problems []exprProblem

	sameEverywhere bool // it reads nothing that differs from place to place of a file
	answered       *answer
}

// newExprs makes the language for a file with these parameters; files answers changed and hash.
func newExprs(params map[string]*types.Type, files fileFunctions) (*exprs, error) {
	fields, err := newCelTypes(params)
	if err != nil {
		return nil, err
	}
	text, dyn := cel.StringType, cel.DynType
	env, err := cel.NewEnv(append(commonLanguage(maxExprBytes), cel.CustomTypeProvider(fields),
		cel.Variable(nameParams, cel.ObjectType(typeParams)), cel.Variable(nameEvent, cel.ObjectType(typeEvent)),
		cel.Variable(nameBranch, text), cel.Variable(nameTag, text), cel.Variable(nameSHA, text), cel.Variable(nameRef, text),
		cel.Variable(nameMatrix, cel.MapType(text, dyn)), cel.Variable(nameEnv, cel.MapType(text, text)), cel.Variable(nameEnvironment, text),
		cel.Variable(nameInputs, cel.MapType(text, dyn)), overGlobs("changed", cel.BoolType, files), overGlobs("hash", cel.StringType, files))...)
	if err != nil {
		return nil, fmt.Errorf("make the language of expressions: %w", err)
	}
	return &exprs{env: env, fields: fields, files: files, compiled: map[string]*compiledExpr{}, maxBytes: maxExprBytes}, nil
}

// newRunExprs makes the language of what a plan leaves to the run: outputs and status are all that it reads.
func newRunExprs() (*exprs, error) {
	env, err := cel.NewEnv(commonLanguage(maxResidualBytes)...)
	if err != nil {
		return nil, fmt.Errorf("make the language of expressions: %w", err)
	}
	return &exprs{env: env, fields: &celTypes{}, compiled: map[string]*compiledExpr{}, maxBytes: maxResidualBytes}, nil
}

// commonLanguage is what expressions are at planning and in the run.
func commonLanguage(maxBytes int) []cel.EnvOption {
	return []cel.EnvOption{
		cel.OptionalTypes(), cel.EnableMacroCallTracking(), cel.ParserExpressionSizeLimit(maxBytes), cel.ParserRecursionLimit(50),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateComprehensionNestingLimit(2)), asText(),
		cel.Variable(nameOutputs, cel.MapType(cel.StringType, cel.MapType(cel.StringType, cel.DynType))), cel.Variable(nameStatus, cel.StringType),
	}
}

// fileFunctions answer what an expression asks of the source, for a list of globs.
type fileFunctions struct {
	changed func(globs []string) ref.Val
	hash    func(globs []string) ref.Val
}

// call answers one of the functions. A run has no source at hand, and needs none: what its plan left open holds their answers.
func (f fileFunctions) call(name string, globs []string) ref.Val {
	switch {
	case name == "changed" && f.changed != nil:
		return f.changed(globs)
	case name == "hash" && f.hash != nil:
		return f.hash(globs)
	}
	return types.NewErr("%s is answered at planning only", name)
}

// overGlobs declares a function of one to five globs: CEL has no functions of any number.
func overGlobs(name string, gives *cel.Type, files fileFunctions) cel.EnvOption {
	var overloads []cel.FunctionOpt
	var args []*cel.Type
	for n := range maxFunctionGlobs {
		args = append(args, cel.StringType)
		overloads = append(overloads, cel.Overload(fmt.Sprintf("%s_%d", name, n+1), append([]*cel.Type{}, args...), gives,
			cel.FunctionBinding(func(values ...ref.Val) ref.Val {
				globs := make([]string, 0, len(values))
				for _, v := range values {
					text, ok := v.Value().(string)
					if !ok {
						return types.MaybeNoSuchOverloadErr(v)
					}
					globs = append(globs, text)
				}
				return files.call(name, globs)
			})))
	}
	return cel.Function(name, overloads...)
}

// compile reads an expression, once for each text.
func (x *exprs) compile(text string) *compiledExpr {
	if known, ok := x.compiled[text]; ok {
		return known
	}
	c := &compiledExpr{text: text}
	if x.bytes += len(text); len(x.compiled) >= maxExprs || x.bytes > maxAllBytes {
		c.problems = []exprProblem{{code: exprCost, message: fmt.Sprintf("the file has more than %d different expressions, or %d bytes of them", maxExprs, maxAllBytes)}}
		return c
	}
	x.compiled[text] = c
	if len(text) > x.maxBytes {
		c.problems = append(c.problems, exprProblem{code: exprCost, message: fmt.Sprintf("the expression has %d bytes; at most %d are read", len(text), x.maxBytes)})
		return c
	}
	ast, issues := x.env.Parse(text)
	if issues.Err() != nil {
		c.problems = x.explain(text, issues, exprSyntax)
		return c
	}
	checked, issues := x.env.Check(ast)
	if issues.Err() != nil {
		c.problems = x.explain(text, issues, exprType)
		return c
	}
	c.ast, c.mentions = checked, mentions(checked)
	c.sameEverywhere = !slices.ContainsFunc(c.mentions, func(m mention) bool {
		return slices.Contains([]string{nameMatrix, nameEnv, nameEnvironment, nameInputs}, m.path[0])
	})
	if c.problems = hiddenNames(checked); len(c.problems) > 0 {
		return c
	}
	if c.tooCostly(x.env) {
		c.problems = append(c.problems, exprProblem{code: exprCost, message: "the expression may take too long to evaluate",
			suggestion: "loops over loops are rarely needed: look for the value directly"})
		return c
	}
	program, err := x.env.Program(checked, cel.EvalOptions(cel.OptTrackState, cel.OptPartialEval), cel.CostLimit(maxExprSteps))
	if err != nil {
		c.problems = append(c.problems, exprProblem{code: exprType, message: err.Error()})
	}
	c.program = program
	return c
}
