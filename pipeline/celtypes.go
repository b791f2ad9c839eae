package pipeline

import (
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// The types of the names that have fields. Their values are maps; the types only say which fields there are.
const (
	typeParams      = "otto.Params"
	typeEvent       = "otto.Event"
	typePullRequest = "otto.PullRequest"
	typeUpstream    = "otto.Upstream"
)

// celTypes adds our types to those of CEL.
type celTypes struct {
	*types.Registry
	fields map[string]map[string]*types.Type
}

func newCelTypes(params map[string]*types.Type) (*celTypes, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, fmt.Errorf("make the types of expressions: %w", err)
	}
	texts := cel.ListType(cel.StringType)
	return &celTypes{Registry: registry, fields: map[string]map[string]*types.Type{
		typeParams: params,
		typeEvent: {
			"kind": cel.StringType, "branch": cel.StringType, "tag": cel.StringType, "sha": cel.StringType, "message": cel.StringType,
			"changed": texts, "pull_request": cel.ObjectType(typePullRequest), "cron": cel.StringType, "upstream": cel.ObjectType(typeUpstream),
		},
		typePullRequest: {
			"number": cel.IntType, "title": cel.StringType, "author": cel.StringType, "base": cel.StringType, "labels": texts,
			"fork": cel.BoolType, "draft": cel.BoolType,
		},
		typeUpstream: {"project": cel.StringType, "run": cel.IntType, "state": cel.StringType},
	}}, nil
}

// FindStructType knows our types.
func (t *celTypes) FindStructType(name string) (*types.Type, bool) {
	if _, ours := t.fields[name]; ours {
		return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
	}
	return t.Registry.FindStructType(name)
}

// FindStructFieldNames lists the fields of our types.
func (t *celTypes) FindStructFieldNames(name string) ([]string, bool) {
	if fields, ours := t.fields[name]; ours {
		return slices.Sorted(maps.Keys(fields)), true
	}
	return t.Registry.FindStructFieldNames(name)
}

// FindStructFieldType gives the type of a field of our types. It has no way to get the field: the value is a map.
func (t *celTypes) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	if fields, ours := t.fields[name]; ours {
		typ, ok := fields[field]
		return &types.FieldType{Type: typ}, ok
	}
	return t.Registry.FindStructFieldType(name, field)
}

// values gives an event to expressions. Each field is there, with its zero value if the event has none: a condition on a pull
// request's label is false for a push, and no error.
func (e Event) values() map[string]any {
	pr, up := PullRequest{}, Upstream{}
	if e.PullRequest != nil {
		pr = *e.PullRequest
	}
	if e.Upstream != nil {
		up = *e.Upstream
	}
	return map[string]any{
		"kind": string(e.Kind), "branch": e.Branch, "tag": e.Tag, "sha": e.SHA, "message": e.Message, "changed": slices.Clone(e.Changed), "cron": e.Cron,
		"pull_request": map[string]any{
			"number": int64(pr.Number), "title": pr.Title, "author": pr.Author, "base": pr.Base, "labels": append([]string{}, pr.Labels...),
			"fork": pr.Fork, "draft": pr.Draft,
		},
		"upstream": map[string]any{"project": up.Project, "run": up.Run, "state": up.State},
	}
}

// ref is the event's git ref, or "".
func (e Event) ref() string {
	switch {
	case e.Tag != "":
		return "refs/tags/" + e.Tag
	case e.Branch != "":
		return "refs/heads/" + e.Branch
	}
	return ""
}
