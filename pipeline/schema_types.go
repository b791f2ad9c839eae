package pipeline

import (
	"encoding/json"
	"fmt"

	"github.com/invopop/jsonschema"
)

// The types of values of the parts of the language that expressions reach.

// exprPattern is a text that is, or holds, an expression.
const exprPattern = `\$\{\{`

// orExpr is a type whose value an expression may give.
func orExpr(t typ) typ {
	return func() *jsonschema.Schema {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{t(), exprText()}}
	}
}

func exprText() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: exprPattern} }

func textType() *jsonschema.Schema { return &jsonschema.Schema{Type: "string"} }

func numberType() *jsonschema.Schema { return &jsonschema.Schema{Type: "number"} }

func anyType() *jsonschema.Schema { return &jsonschema.Schema{} }

func whenType() *jsonschema.Schema {
	return &jsonschema.Schema{
		AnyOf:    []*jsonschema.Schema{{Type: "string", Pattern: `\S`, Not: &jsonschema.Schema{Pattern: exprPattern}}, {Type: "boolean"}},
		Examples: []any{`branch == "main"`, `changed("web/**")`, `params.environment == "production"`},
	}
}

func paramTypeType() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum(paramTypes())} }

func scalarListType() *jsonschema.Schema { return &jsonschema.Schema{Type: "array", Items: scalar()} }

// textsType is one text or a list of them.
func textsType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{textType(), {Type: "array", Items: textType(), MinItems: new(uint64(1))}}}
}

func globsType() *jsonschema.Schema {
	s := textsType()
	s.Examples = []any{"main", []any{"release/**", "!release/old"}}
	return s
}

func paramsType() *jsonschema.Schema {
	return openObject(paramName.String(), &jsonschema.Schema{AnyOf: []*jsonschema.Schema{objectSchema(paramObject()), scalar(), {Type: "null"}}})
}

// orNothing is an object that may be left empty, or be true.
func orNothing(s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "null"}, {Const: true}}}
}

// filterType is what an event must be like. Its keys depend on the event, which filterObject knows.
func filterType(event string) typ {
	return func() *jsonschema.Schema { return orNothing(objectSchema(filterObject(event))) }
}

func schedulesType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: withRequired(objectSchema(scheduleObject()), "cron")}
}

func triggersType() *jsonschema.Schema {
	bare := func() *jsonschema.Schema {
		return &jsonschema.Schema{Enum: enum([]EventKind{EventPush, EventPullRequest, EventTag, EventManual})}
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{objectSchema(triggersObject()), bare(), {Type: "array", Items: bare()}}}
}

func countType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema {
		return &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: json.Number(fmt.Sprint(maxConcurrency))}
	})()
}

func protectionType() *jsonschema.Schema { return objectSchema(protectionObject()) }

func environmentsType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "object", AdditionalProperties: &jsonschema.Schema{AnyOf: []*jsonschema.Schema{objectSchema(environmentObject()), {Type: "null"}}}}
}

func onConflictType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum(onConflicts())} })()
}

func concurrencyType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{nameType(), withRequired(objectSchema(concurrencyObject()), "group")}}
}

func needsType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{textType(), {Type: "array", Items: textType()}}}
}

func matrixType() *jsonschema.Schema {
	leg := &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "object"}}
	axes := &jsonschema.Schema{
		Type: "object", Properties: jsonschema.NewProperties(),
		AdditionalProperties: &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "array"}, {Type: "object"}, {Type: "string", Pattern: exprPattern}}},
	}
	axes.Properties.Set("include", &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "object"}, Description: "More legs, each written out."})
	axes.Properties.Set("exclude", &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "object"}, Description: "Legs to leave out: those that have all of these values."})
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{axes, leg, {Type: "string", Pattern: exprPattern}}, Examples: []any{map[string]any{"go": []any{"1.25", "1.26"}}}}
}

func shellType() *jsonschema.Schema {
	s := textsType()
	s.Examples = []any{"bash", []any{"python3", "-u"}}
	return s
}

func outputsType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "array", Items: &jsonschema.Schema{Type: "string", Pattern: paramName.String()}},
		openObject(paramName.String(), &jsonschema.Schema{Enum: enum(outputTypes())}),
	}}
}

func defaultsType() *jsonschema.Schema { return objectSchema(defaultsObject(taskObject())) }

func addedType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: json.Number(fmt.Sprint(maxAdded))}
}

func mayAddType() *jsonschema.Schema {
	return withRequired(objectSchema(mayAddObject()), "template", "max")
}
