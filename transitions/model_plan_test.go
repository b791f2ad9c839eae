package transitions_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/ottoci/otto/pipeline"
)

// modelPlan is a random plan.
type (
	modelPlan      []modelStagePlan
	modelStagePlan struct {
		mode      string
		always    bool
		onFailure bool
		tasks     []modelTaskPlan
	}
	modelTaskPlan struct {
		name         string
		always       bool
		allowFailure bool
		limit        int      // of retries
		on           []string // what is retried
		delay        time.Duration
		onLostFail   bool
		omitted      bool
		needs        []string // nil: the stages before its own
		later        bool
		group        pipeline.Concurrency // none without a name
	}
)

func drawPlan(t *rapid.T) modelPlan {
	var p modelPlan
	var names []string // of the tasks so far: only they can be needed, so there is no circle
	for s := range rapid.IntRange(0, 3).Draw(t, "stages") {
		stage := modelStagePlan{mode: rapid.SampledFrom([]string{"linear", "parallel", "fanout"}).Draw(t, "mode"), always: rapid.IntRange(0, 4).Draw(t, "always") == 4}
		stage.onFailure = !stage.always && rapid.IntRange(0, 4).Draw(t, "on failure") == 4
		for i := range rapid.IntRange(1, 3).Draw(t, "tasks") {
			rare := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 3 }
			task := modelTaskPlan{name: fmt.Sprintf("t%d-%d", s, i), always: rare("task always"), allowFailure: rare("allow failure"), onLostFail: rare("on_lost fail")}
			if task.limit = rapid.IntRange(0, 2).Draw(t, "retries"); task.limit > 0 {
				task.on = rapid.SampledFrom([][]string{{"failed"}, {"lost"}, {"failed", "lost"}}).Draw(t, "on")
				task.delay = rapid.SampledFrom([]time.Duration{time.Millisecond, 10 * time.Second}).Draw(t, "delay")
			}
			task.omitted, task.later = rapid.IntRange(0, 7).Draw(t, "omitted") == 7, rapid.IntRange(0, 5).Draw(t, "later") == 5
			if rare("needs") {
				task.needs = rapid.SliceOfNDistinct(rapid.SampledFrom(append(names, "")), 0, 2, rapid.ID[string]).Draw(t, "which")
				task.needs = slices.DeleteFunc(task.needs, func(name string) bool { return name == "" })
			}
			if rare("group") {
				task.group = pipeline.Concurrency{Group: rapid.SampledFrom([]string{"g", "h"}).Draw(t, "name"), Limit: rapid.IntRange(1, 2).Draw(t, "limit"),
					OnConflict: rapid.SampledFrom([]pipeline.OnConflict{pipeline.ConflictWait, pipeline.ConflictSkip, pipeline.ConflictAbortOlder}).Draw(t, "on conflict")}
			}
			names = append(names, task.name)
			stage.tasks = append(stage.tasks, task)
		}
		p = append(p, stage)
	}
	return p
}

// change adds to the compiled plan what the Ottofile below does not say.
func (p modelPlan) change(plan *pipeline.Plan) {
	for i, s := range p {
		plan.Stages[i].OnFailure = s.onFailure
		for j, from := range s.tasks {
			to := &plan.Stages[i].Tasks[j]
			to.Needs = from.needs
			if from.omitted {
				omitted(to)
			}
			if from.later {
				later(to)
			}
			if from.group.Group != "" {
				to.Concurrency = &from.group
			}
		}
	}
}

// String is for the reader of a failure.
func (p modelPlan) String() string {
	text := p.ottofile()
	for _, s := range p {
		for _, t := range s.tasks {
			text += fmt.Sprintf("%s: on_failure=%v omitted=%v needs=%q later=%v group=%+v\n", t.name, s.onFailure, t.omitted, t.needs, t.later, t.group)
		}
	}
	return text
}

// ottofile writes the plan down.
func (p modelPlan) ottofile() string {
	var b strings.Builder
	b.WriteString("stages:\n")
	if len(p) == 0 {
		return "stages: []"
	}
	for i, s := range p {
		fmt.Fprintf(&b, "  - {stage: s%d, mode: %s, always: %v, tasks: [", i, s.mode, s.always)
		for _, t := range s.tasks {
			lost, retries := "retry", ""
			if t.onLostFail {
				lost = "fail"
			}
			if t.limit > 0 {
				retries = fmt.Sprintf("retries: {limit: %d, on: [%s], delay: %s}, ", t.limit, strings.Join(t.on, ", "), t.delay)
			}
			fmt.Fprintf(&b, "{task: %s, always: %v, allow_failure: %v, on_lost: %s, %ssteps: [{sh: a}]}, ", t.name, t.always, t.allowFailure, lost, retries)
		}
		b.WriteString("]}\n")
	}
	return b.String()
}
