package show

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// fields adds a change for each field whose value differs.
func (d *differ) fields(at Effect, was, is map[string]any) {
	names := slices.Collect(maps.Keys(is))
	for name := range was {
		if _, both := is[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if !reflect.DeepEqual(was[name], is[name]) {
			e := at
			e.Kind, e.Field, e.Before, e.After = EffectChanged, name, was[name], is[name]
			d.add(e)
		}
	}
}

// planFields are the fields of a plan outside its stages: what it is called, and what it was made for.
func planFields(p *pipeline.Plan) map[string]any {
	fields := flatten(struct {
		Name    string           `json:"name,omitempty"`
		Inputs  *pipeline.Inputs `json:"inputs,omitempty"`
		Trigger pipeline.Trigger `json:"trigger,omitzero"`
	}{p.Name, p.Inputs, p.Trigger})
	delete(fields, "inputs.event.sha") // of two commits they always differ, and nothing follows from that alone
	delete(fields, "inputs.event.message")
	for name, value := range fields {
		if short, ok := strings.CutPrefix(name, "inputs."); ok {
			delete(fields, name)
			fields[short] = value
		}
	}
	return fields
}

func stageFields(s *pipeline.Stage) map[string]any {
	clone := *s
	clone.Name, clone.UUID, clone.Tasks = "", "", nil
	fields := flatten(clone)
	delete(fields, "tasks")
	return withCondition(fields, s.When)
}

func taskFields(t *pipeline.Task) map[string]any {
	clone := *t
	clone.Name, clone.UUID, clone.Omitted, clone.Steps, clone.Later = "", "", "", nil, nil
	fields := flatten(clone)
	delete(fields, "steps")
	for _, l := range t.Later {
		if name, ok := strings.CutPrefix(l.Field, "/env/"); ok {
			fields["env."+unescape(name)] = "${{ " + l.Expr + " }}"
		}
	}
	return withCondition(fields, t.When)
}

func stepFields(t *pipeline.Task, i int) map[string]any {
	clone := t.Steps[i]
	clone.Name, clone.UUID, clone.Omitted = "", "", ""
	fields := flatten(clone)
	for _, l := range t.Later {
		if name, ok := strings.CutPrefix(l.Field, fmt.Sprintf("/steps/%d/env/", i)); ok {
			fields["env."+unescape(name)] = "${{ " + l.Expr + " }}"
		}
	}
	return withCondition(fields, t.Steps[i].When)
}

// withCondition leaves of a condition what the file says: what it comes to is an effect of its own.
func withCondition(fields map[string]any, c *pipeline.Condition) map[string]any {
	maps.DeleteFunc(fields, func(name string, _ any) bool { return strings.HasPrefix(name, "when.") || name == "name" })
	if c != nil {
		fields["when"] = oneLine(c.Expr)
	}
	return fields
}

// flatten gives the fields of a part of a plan by their path. Lists are values; durations are written as Ottofiles do.
func flatten(part any) map[string]any {
	fields := map[string]any{}
	body, err := json.Marshal(part)
	if err != nil {
		return fields
	}
	var doc map[string]any
	if json.Unmarshal(body, &doc) != nil {
		return fields
	}
	flattenInto(fields, "", doc)
	return fields
}

func flattenInto(fields map[string]any, prefix string, doc map[string]any) {
	for key, value := range doc {
		inner, isMap := value.(map[string]any)
		ms, isNumber := value.(float64)
		switch name := prefix + key; {
		case isMap:
			flattenInto(fields, name+".", inner)
		case isNumber && strings.HasSuffix(key, "_ms"):
			fields[strings.TrimSuffix(name, "_ms")] = Milliseconds(int64(ms))
		default:
			fields[name] = value
		}
	}
}

// outOfOrder finds the names that have changed their place among those that both lists have: all but a longest run that
// kept its order.
func outOfOrder(was, is []string) map[string]bool {
	at := places(was)
	var common []string
	for _, name := range is {
		if _, ok := at[name]; ok {
			common = append(common, name)
		}
	}
	kept := increasing(common, at)
	moved := map[string]bool{}
	for _, name := range common {
		if !kept[name] {
			moved[name] = true
		}
	}
	return moved
}

// places says where each name stands.
func places(names []string) map[string]int {
	at := map[string]int{}
	for i, name := range names {
		at[name] = i
	}
	return at
}

// increasing is a longest subsequence of names whose places rise.
func increasing(names []string, at map[string]int) map[string]bool {
	var ends []int // by length less one, the name that ends such a run earliest
	before := make([]int, len(names))
	for i, name := range names {
		n, _ := slices.BinarySearchFunc(ends, at[name], func(end, place int) int { return at[names[end]] - place })
		before[i] = -1
		if n > 0 {
			before[i] = ends[n-1]
		}
		if n == len(ends) {
			ends = append(ends, i)
		} else {
			ends[n] = i
		}
	}
	kept := map[string]bool{}
	if len(ends) == 0 {
		return kept
	}
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		kept[names[i]] = true
	}
	return kept
}
