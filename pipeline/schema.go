package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"github.com/invopop/jsonschema"
)

// typ makes the schema of a value. Schemas are trees, so each use gets its own.
type typ func() *jsonschema.Schema

// Schema is the JSON Schema of the Ottofile, for completion and checks in editors. It comes from the table that
// decodes the file, and so knows the same keys; what needs more than one place (unique names) only Compile can tell.
func Schema() ([]byte, error) {
	l := newLanguage()
	root := objectSchema(l.file)
	root.Version = jsonschema.Version
	root.ID = "urn:otto:ottofile:v1"
	root.Title = "Ottofile"
	root.OneOf = []*jsonschema.Schema{{Required: []string{"steps"}}, {Required: []string{"stages"}}}
	root.Definitions = jsonschema.Definitions{
		"stage": orUse(stageSchema(l)),
		"task":  orUse(withRequired(objectSchema(l.task), "task", "steps")),
		"step":  orUse(withRequired(objectSchema(l.step), "sh")),

		"template":  templateSchema(l),
		"stageBody": bodySchema(objectSchema(l.stage)),
		"taskBody":  bodySchema(objectSchema(l.task)),
		"stepBody":  bodySchema(objectSchema(l.step)),
	}
	body, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the schema: %w", err)
	}
	return append(body, '\n'), nil
}

func objectSchema[T any](o object[T]) *jsonschema.Schema {
	s := &jsonschema.Schema{
		Type: "object", Description: o.doc, Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema,
	}
	for _, k := range o.keys {
		v := k.typ()
		v.Description = k.doc
		s.Properties.Set(k.name, v)
	}
	return s
}

// stageSchema adds to the keys of a stage which of them go together: its forms.
func stageSchema(l language) *jsonschema.Schema {
	s := objectSchema(l.stage)
	lists := []string{"parallel", "fanout", "linear"}
	var taskOnly []string
	for _, name := range l.task.names() {
		if name != "task" && name != "always" && name != "when" && name != "needs" {
			taskOnly = append(taskOnly, name)
		}
	}
	s.OneOf = append(s.OneOf, &jsonschema.Schema{
		Required: []string{"stage", "steps"}, Not: anyOf(append([]string{"name", "mode", "tasks"}, lists...)...),
	})
	for _, list := range lists {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{list}, Not: anyOf(append([]string{"mode"}, taskOnly...)...)})
	}
	s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{"tasks"}, Not: anyOf(taskOnly...)})
	s.Not = &jsonschema.Schema{Required: []string{"stage", "name"}}
	return s
}

// anyOf is true for an object that has any of the keys.
func anyOf(keys ...string) *jsonschema.Schema {
	s := &jsonschema.Schema{}
	for _, k := range keys {
		s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Required: []string{k}})
	}
	return s
}

func withRequired(s *jsonschema.Schema, keys ...string) *jsonschema.Schema {
	s.Required = keys
	return s
}

// The types of values.

func nameType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", MinLength: new(uint64(1)), MaxLength: new(uint64(maxName)), Pattern: `^\S(.*\S)?$`}
}

func scriptType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Pattern: `\S`}, {Type: "boolean"}}}
}

func boolType() *jsonschema.Schema { return &jsonschema.Schema{Type: "boolean"} }

func durationType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: durationText.String(), Examples: []any{"90s", "10m", "1h30m", "2d"}}
}

func dirType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^[^/~:\\][^:\\]*$`, Examples: []any{"web"}}
}

func scalar() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
}

// openObject is a mapping whose keys the user chooses, of a pattern.
func openObject(pattern string, value *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "object", PatternProperties: map[string]*jsonschema.Schema{pattern: value}, AdditionalProperties: jsonschema.FalseSchema,
	}
}

func envType() *jsonschema.Schema {
	s := openObject(envName.String(), scalar())
	s.PropertyNames = &jsonschema.Schema{Not: &jsonschema.Schema{Pattern: `^(CI|OTTO|OTTO_.*)$`}}
	return s
}

func requiresType() *jsonschema.Schema {
	text := func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", MinLength: new(uint64(1))} }
	s := openObject(capabilityName.String(), &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		text(), {Type: "boolean"}, {Type: "number", Minimum: "0"}, atLeastOne(&jsonschema.Schema{Type: "array", Items: text()}),
	}})
	s.Examples = []any{map[string]any{"os": "linux", "cores": 2, "memory": "2GiB", "go": ">=1.25 <2", "tools": []any{"helm", "kubectl"}}}
	return s
}

func exitCodesType() *jsonschema.Schema {
	var words []any
	var patterns []string
	for _, spelling := range spellings() {
		words = append(words, spelling[0])
		for _, w := range spelling {
			patterns = append(patterns, anyCase(w))
		}
	}
	return openObject(`^([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$`, &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Enum: words}, {Type: "string", Pattern: "^(" + strings.Join(patterns, "|") + ")$"}, exprText(),
	}})
}

// anyCase is a pattern for a word in any case: JSON Schema has no flags.
func anyCase(word string) string {
	var b strings.Builder
	for _, c := range word {
		fmt.Fprintf(&b, "[%c%c]", unicode.ToUpper(c), c)
	}
	return b.String()
}

func limitType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: json.Number(fmt.Sprint(maxRetries))}
}

func exitListType() *jsonschema.Schema {
	one := orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Type: "integer", Minimum: "1", Maximum: "255"} })
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{one(), {Type: "array", Items: one()}}}
}

func retryOnType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", MinItems: new(uint64(1)), Items: &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Enum: enum(retryReasons())}, exprText(), objectSchema(onExitObject()),
	}}}
}

func retriesType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{orExpr(limitType)(), withRequired(objectSchema(retriesObject()), "limit")}}
}

func onLostType() *jsonschema.Schema {
	return &jsonschema.Schema{Enum: enum([]OnLost{OnLostRetry, OnLostFail})}
}

func modeType() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum(modes())} }

func enum[S ~string](words []S) []any {
	out := make([]any, 0, len(words))
	for _, w := range words {
		out = append(out, string(w))
	}
	return out
}

func listOf(name string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Ref: "#/$defs/" + name}}
}

func stagesType() *jsonschema.Schema { return listOf("stage") }

// lastStagesType is that of stages at the end, which wait for all others.
func lastStagesType() *jsonschema.Schema {
	s := stagesType()
	s.Items.Not = &jsonschema.Schema{Required: []string{"needs"}}
	return s
}

func tasksType() *jsonschema.Schema { return atLeastOne(listOf("task")) }

func stepsType() *jsonschema.Schema { return atLeastOne(listOf("step")) }

func atLeastOne(s *jsonschema.Schema) *jsonschema.Schema {
	s.MinItems = new(uint64(1))
	return s
}
