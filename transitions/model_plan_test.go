package transitions_test

import (
	"fmt"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// modelPlan is a random plan.
type (
	modelPlan      []modelStagePlan
	modelStagePlan struct {
		mode   string
		always bool
		tasks  []modelTaskPlan
	}
	modelTaskPlan struct {
		name         string
		always       bool
		allowFailure bool
		limit        int      // of retries
		on           []string // what is retried
		delay        time.Duration
		onLostFail   bool
	}
)

func drawPlan(t *rapid.T) modelPlan {
	var p modelPlan
	for s := range rapid.IntRange(0, 3).Draw(t, "stages") {
		stage := modelStagePlan{mode: rapid.SampledFrom([]string{"linear", "parallel", "fanout"}).Draw(t, "mode"), always: rapid.IntRange(0, 4).Draw(t, "always") == 4}
		for i := range rapid.IntRange(1, 3).Draw(t, "tasks") {
			rare := func(what string) bool { return rapid.IntRange(0, 3).Draw(t, what) == 3 }
			task := modelTaskPlan{name: fmt.Sprintf("t%d-%d", s, i), always: rare("task always"), allowFailure: rare("allow failure"), onLostFail: rare("on_lost fail")}
			if task.limit = rapid.IntRange(0, 2).Draw(t, "retries"); task.limit > 0 {
				task.on = rapid.SampledFrom([][]string{{"failed"}, {"lost"}, {"failed", "lost"}}).Draw(t, "on")
				task.delay = rapid.SampledFrom([]time.Duration{time.Millisecond, 10 * time.Second}).Draw(t, "delay")
			}
			stage.tasks = append(stage.tasks, task)
		}
		p = append(p, stage)
	}
	return p
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
