package pipeline

import (
	"github.com/invopop/jsonschema"
)

const (
	useDoc = "The template that makes this: its name, a file of the repository (./ci/go.yaml), or a git source " +
		"(git+https://HOST/REPOSITORY//FILE@COMMIT)."
	withDoc = "The inputs of the template."
)

// expandedKey is for keys that are gone when a file is decoded: the expander has read them.
func expandedKey[T any](*decoder, *T, *node, *node) {}

// The types of templates and inputs.

func templatesType() *jsonschema.Schema {
	return openObject(templateName.String(), &jsonschema.Schema{Ref: "#/$defs/template"})
}

func inputsType() *jsonschema.Schema {
	return openObject(envName.String(), objectSchema(inputObject()))
}

// templateSchema adds to the keys of a template that it makes one thing.
func templateSchema(l language) *jsonschema.Schema {
	s := objectSchema(l.template)
	for _, form := range templateForms() {
		s.OneOf = append(s.OneOf, &jsonschema.Schema{Required: []string{form}})
	}
	return s
}

func stageBodyType() *jsonschema.Schema { return lax(&jsonschema.Schema{Ref: "#/$defs/stage"}) }

func taskBodyType() *jsonschema.Schema { return lax(&jsonschema.Schema{Ref: "#/$defs/task"}) }

// bodySchema is an object as it stands in a template: any value may be an expression, and what is missing may come from the use.
func bodySchema(s *jsonschema.Schema) *jsonschema.Schema {
	s.Required, s.OneOf, s.Not, s.If, s.Else, s.DependentRequired = nil, nil, nil, nil, nil, nil
	relax(s)
	return s
}

// lax lets an expression stand for a value.
func lax(s *jsonschema.Schema) *jsonschema.Schema {
	if s.Ref != "" {
		s = &jsonschema.Schema{Ref: s.Ref + "Body", Description: s.Description}
	} else {
		relax(s)
	}
	if s.Type == "string" && s.Pattern == "" && len(s.Enum) == 0 {
		return s
	}
	out := &jsonschema.Schema{Description: s.Description, AnyOf: []*jsonschema.Schema{s, {Type: "string", Pattern: `\$\{\{`}}}
	s.Description = ""
	return out
}

func laxly(t typ) typ { return func() *jsonschema.Schema { return lax(t()) } }

// relax lets expressions stand for the values below.
func relax(s *jsonschema.Schema) {
	if s.Properties != nil {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			p.Value = lax(p.Value)
		}
	}
	for pattern, v := range s.PatternProperties {
		s.PatternProperties[pattern] = lax(v)
	}
	if s.Items != nil {
		s.Items = lax(s.Items)
	}
	for i, v := range s.AnyOf {
		s.AnyOf[i] = lax(v)
	}
}

func useType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: `^\S+$`, Examples: []any{"go-test", "./ci/go.yaml"}}
}

func withType() *jsonschema.Schema { return &jsonschema.Schema{Type: "object"} }

func inputTypeType() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum(inputTypes())} }

// orUse lets a use stand in the place of what an object must have.
func orUse(s *jsonschema.Schema) *jsonschema.Schema {
	own := &jsonschema.Schema{Required: s.Required, OneOf: s.OneOf}
	s.Required, s.OneOf = nil, nil
	s.If, s.Else = &jsonschema.Schema{Required: []string{"use"}}, own
	s.DependentRequired = map[string][]string{"with": {"use"}}
	return s
}
