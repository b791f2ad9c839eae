package pipeline

import (
	"strings"
	"testing"
)

// A fragment is held against all that the template's inputs declare.
func TestFragmentIsHeldAgainstTheInputs(t *testing.T) {
	t.Parallel()
	least, most := 1.0, 3.0
	m := MayAdd{Template: "shard", Max: 2, Inputs: []FragmentInput{
		{Name: "part", Type: paramString, Pattern: "[a-z]", Required: true},
		{Name: "size", Type: paramInteger, Min: &least, Max: &most, Default: int64(2)},
		{Name: "tags", Type: paramList, Pattern: "[0-9]+"},
		{Name: "kind", Type: paramChoice, Enum: []any{"unit", "race"}, Default: "unit"},
	}}
	for name, c := range map[string]struct {
		entry map[string]any
		want  string
	}{
		"fits":                 {map[string]any{"part": "a", "size": 3, "tags": []any{"1"}, "kind": "race"}, ""},
		"pattern":              {map[string]any{"part": "AB"}, `entry 1 of the fragment: part: "AB" does not match [a-z]`},
		"pattern_of_the_whole": {map[string]any{"part": "ab"}, `entry 1 of the fragment: part: "ab" does not match [a-z]`},
		"pattern_of_items":     {map[string]any{"part": "a", "tags": []any{"1", "x"}}, `entry 1 of the fragment: tags: "x" does not match [0-9]+`},
		"too_large":            {map[string]any{"part": "a", "size": 4}, "entry 1 of the fragment: size: 4: it must be at most 3"},
		"too_small":            {map[string]any{"part": "a", "size": 0}, "entry 1 of the fragment: size: 0: it must be at least 1"},
		"no_choice":            {map[string]any{"part": "a", "kind": "lint"}, `entry 1 of the fragment: kind: "lint" is none of unit, race`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := m.Check([]any{c.entry})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("the fragment gives %q, want %q", got, c.want)
			}
		})
	}
}
