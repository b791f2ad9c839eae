package properties

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ottoci/otto/pipeline"
)

// compile plans a file that must have a plan.
func compile(t *rapid.T, text string, facts pipeline.Facts) (*pipeline.Plan, []byte) {
	t.Helper()
	plan, ds := pipeline.Compile(pipeline.File{Name: "Ottofile.yaml", Data: []byte(text)}, facts)
	if plan == nil {
		t.Fatalf("no plan: %v\n%s", ds, text)
	}
	body, _, err := plan.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return plan, body
}

// A file has one plan: byte by byte the same each time, the same but for the places of its values however the file is written, and
// unchanged by being stored.
func TestPlanningIsAFunction(t *testing.T) {
	t.Parallel()
	check(t, 40, func(t *rapid.T) int {
		f := drawOttofile(t)
		tree := f.tree()
		text := asYAML(tree, "")[1:] + "\n"
		plan, body := compile(t, text, f.facts)

		again := f.facts
		again.Params = map[string]any{}
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(f.facts.Params))) {
			again.Params[name] = f.facts.Params[name]
		}
		if _, second := compile(t, text, again); !bytes.Equal(body, second) {
			t.Fatalf("planned twice:\n%s\n%s", cmp.Diff(string(body), string(second)), text)
		}
		var stored pipeline.Plan
		if err := json.Unmarshal(body, &stored); err != nil {
			t.Fatal(err)
		}
		if back, _, err := stored.Encode(); err != nil || !bytes.Equal(body, back) {
			t.Fatalf("read back: %v\n%s", err, cmp.Diff(string(body), string(back)))
		}

		perm := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "order"), 0)).Perm
		for how, other := range map[string]string{
			"in braces":        asJSON(tree),
			"in another order": asYAML(shuffled(tree, perm), "")[1:],
		} {
			moved, _ := compile(t, other, f.facts)
			moved.Origins = plan.Origins
			if again, _, err := moved.Encode(); err != nil || !bytes.Equal(body, again) {
				t.Fatalf("written %s, the plan is another (%v):\n%s\n%s", how, err, cmp.Diff(plan, moved), other)
			}
		}
		return 1
	})
}

// A plan says of each stage, task and step what its file means: whether it starts, in which order, after what, and whether that is
// decided now or later.
func TestPlanSaysWhatTheFileMeans(t *testing.T) {
	t.Parallel()
	check(t, 40, func(t *rapid.T) int {
		f := drawOttofile(t)
		text := asYAML(f.tree(), "")[1:]
		plan, _ := compile(t, text, f.facts)
		if plan.Trigger.Starts != f.starts() || plan.Trigger.Reason == "" {
			t.Fatalf("the trigger is %+v, it should start: %v\n%s", plan.Trigger, f.starts(), text)
		}
		if len(plan.Stages) != len(f.stages) {
			t.Fatalf("%d stages instead of %d\n%s", len(plan.Stages), len(f.stages), text)
		}
		for i, s := range f.stages {
			got := plan.Stages[i]
			want := pipeline.Stage{Name: s.name, Mode: s.mode, Always: s.always || s.part == atTheEnd, OnFailure: s.part == onFailure, When: got.When, Tasks: got.Tasks}
			if d := cmp.Diff(want, got); d != "" {
				t.Fatalf("stage %d: %s\n%s", i, d, text)
			}
			legs := s.legs()
			if len(legs) != len(got.Tasks) {
				t.Fatalf("stage %d has %d tasks instead of %d\n%s", i, len(got.Tasks), len(legs), text)
			}
			for j, l := range legs {
				if problem := f.compare(l, got.Tasks[j]); problem != "" {
					t.Fatalf("%s: %s\n%s", l.name, problem, text)
				}
			}
		}
		return 1
	})
}

// compare says how a task of a plan is not what its file means.
func (f *ottofile) compare(l leg, got pipeline.Task) string {
	s := f.scene(l)
	switch {
	case got.Name != l.name:
		return "it is called " + got.Name
	case (got.Omitted != "") != f.omitted(l):
		return "omitted: " + got.Omitted
	case !slices.Equal(got.Needs, f.needs(l)) || (got.Needs == nil) != (f.needs(l) == nil):
		return "other needs: " + cmp.Diff(f.needs(l), got.Needs)
	case later(got, "/when") != (!f.omitted(l) && l.runs(s) == open):
		return "decided at another time"
	case later(got, "/env/LATE") != (!f.omitted(l) && l.late != ""): // what does not run decides nothing
		return "the variable is decided at another time"
	}
	for i, step := range l.steps {
		want := step.when.judge(s)
		if (got.Steps[i].Omitted != "") != (want == no) || later(got, fmt.Sprintf("/steps/%d/when", i)) != (want == open && !f.omitted(l)) {
			return "step " + got.Steps[i].Name + " is omitted: " + got.Steps[i].Omitted
		}
	}
	return ""
}

func later(t pipeline.Task, field string) bool {
	return slices.ContainsFunc(t.Later, func(l pipeline.Later) bool { return l.Field == field })
}
