package properties

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// The rules of a run once more, in plain Go and from what the documentation says: for each task, whether it had to run, and if
// not, why. They judge a history, so that where the rules leave an order open, any order is right.

// judge says what is wrong with the history of a run, or nothing.
func (h *history) judge(others []*history) error {
	if h.run.FinishedAt == nil {
		return fmt.Errorf("the run is %s", h.run.State)
	}
	if !h.starts() {
		return h.notStarted()
	}
	if len(h.stages) != len(h.ottofile.stages) {
		return fmt.Errorf("%d stages instead of %d", len(h.stages), len(h.ottofile.stages))
	}
	for _, l := range h.legs {
		f := h.tasks[l.name]
		if err := h.task(f, others); err != nil {
			return fmt.Errorf("task %s (%s, %q): %w", l.name, f.State, f.reason(), err)
		}
	}
	return h.results()
}

func (h *history) notStarted() error {
	said := ""
	if h.run.Reason != nil {
		said = *h.run.Reason
	}
	if h.run.State != "skipped" || len(h.stages) > 0 || said != h.plan.Trigger.Filter+": "+h.plan.Trigger.Reason {
		return fmt.Errorf("the event starts nothing, and the run is %s with %d stages, reason %q", h.run.State, len(h.stages), said)
	}
	return nil
}

// results holds the stages against their tasks, and the run against its stages.
func (h *history) results() error {
	worst, warned := 0, false
	for i, s := range h.stages {
		of, warns := 0, false
		for _, f := range h.tasks {
			if f.stage == i {
				of, warns = max(of, f.effective()), warns || f.forgiven()
			}
		}
		if s.State != severities[of] || s.Warnings != warns {
			return fmt.Errorf("stage %s is %s (warnings %v), and its tasks make it %s (%v)", s.Name, s.State, s.Warnings, severities[of], warns)
		}
		worst, warned = max(worst, of), warned || warns
	}
	if len(h.stages) == 0 {
		worst = severity("succeeded")
	}
	if h.run.State != severities[worst] || h.run.Warnings != warned {
		return fmt.Errorf("the run is %s (warnings %v), and its stages make it %s (%v)", h.run.State, h.run.Warnings, severities[worst], warned)
	}
	return nil
}

// task says what is wrong with the fate of a task.
func (h *history) task(f *fate, others []*history) error {
	planned := h.plan.Stages[f.stage].Tasks[f.index]
	if h.omitted(f.leg) {
		return f.want("skipped", planned.Omitted == f.reason() && f.reason() != "", "planning has left it out")
	}
	if stopped, err := h.siblingFailed(f); stopped || err != nil {
		return err
	}
	open, err := h.gate(f)
	if err != nil || !open {
		return err
	}
	scenes := []scene{h.scene(f.leg)}
	if len(planned.Later) > 0 {
		if f.first("blocked") == never {
			return f.stoppedElsewhere(others, "it was to be decided late, and never was")
		}
		scenes = h.scenes(f)
	}
	var problems []string
	for _, s := range scenes { // what changed while it was decided may count or not
		err := h.decided(f, s, others)
		if err == nil {
			return nil
		}
		problems = append(problems, err.Error())
	}
	return fmt.Errorf("%s", strings.Join(problems, "; or "))
}

// want is nothing if the task is in a state.
func (f *fate) want(state string, reason bool, why string) error {
	if f.State != state || !reason {
		return fmt.Errorf("it should be %s, with the right reason: %s", state, why)
	}
	if state == "skipped" && len(f.done) > 0 {
		return fmt.Errorf("it has run: %s", why)
	}
	return nil
}

// siblingFailed says whether the failure of a task beside it in a fanout has stopped the task.
func (h *history) siblingFailed(f *fate) (stopped bool, err error) {
	if f.in.mode != pipeline.Fanout || f.always || f.in.always || f.in.part == atTheEnd {
		return false, nil
	}
	fails, together := never, false // together: reports that are taken at once do not stop each other
	for _, other := range h.tasks {
		if other.stage == f.stage && other != f && other.effective() >= severity("aborted") && !other.wasOrdered() {
			fails, together = min(fails, other.ends), together || other.endTx == f.endTx && len(f.done) > 0 && len(f.done) == int(f.Epoch)
		}
	}
	last := int64(0)
	for _, at := range f.at["started"] {
		last = max(last, at)
	}
	switch {
	case fails > f.ends || together && !f.stoppedBetween() || f.State == "skipped" && f.ends < fails:
		return false, nil
	case len(f.at["started"]) == len(f.done) && last < fails && last > 0 && len(f.at["aborting"]) > 0:
		return false, nil // it was running then, and was told
	case f.State != "aborted" || f.reason() != "sibling_failed":
		return true, fmt.Errorf("a task beside it failed before it started, and should have stopped it")
	}
	return true, nil
}

// wasOrdered says whether the task had been told to stop when it ended.
func (f *fate) wasOrdered() bool { return f.ordered() || len(f.at["aborting"]) > 0 }

// gate says whether what the task waits for lets it go on; if not, it must have been skipped.
func (h *history) gate(f *fate) (open bool, err error) {
	if needs := h.needs(f.leg); needs != nil {
		return h.needsGate(f, needs)
	}
	before, late := 0, false
	for i := range f.stage {
		before = max(before, severity(h.stages[i].State))
	}
	for _, other := range h.tasks {
		late = late || other.stage < f.stage && other.ends > f.begins
	}
	always := f.always || f.in.always || f.in.part == atTheEnd
	goes := before <= severity("unstable") || always
	if f.in.part == onFailure {
		goes = before == severity("failed")
	}
	if f.in.mode == pipeline.Linear && goes {
		for _, other := range h.tasks {
			if _, needy := other.waits(other.in); other.stage != f.stage || other == f {
				continue
			} else if !needy && other.index < f.index {
				late = late || other.ends > f.begins
			}
			if other.ends < f.begins && other.effective() >= severity("aborted") {
				goes = goes && always
			}
		}
	}
	if late {
		return false, fmt.Errorf("it did not wait for what stands before it")
	}
	if !goes {
		return false, f.want("skipped", f.first("ready") == never && f.first("blocked") == never && h.names(f, before), "the run does not go on to it")
	}
	return true, nil
}

// names says whether the reason of a task that the run does not reach names what has failed before it; before is the worst of that.
func (h *history) names(f *fate, before int) bool {
	if f.in.part == onFailure && before < severity("failed") {
		return f.reason() == "nothing_failed"
	}
	for i, s := range h.stages[:f.stage] {
		if f.in.part != onFailure && severity(s.State) >= severity("aborted") {
			return f.reason() == fmt.Sprintf("stage_%s: %s", s.State, h.stages[i].Name)
		}
	}
	for _, other := range h.tasks {
		if other.stage == f.stage && other.effective() >= severity("aborted") && f.reason() == fmt.Sprintf("task_%s: %s", other.State, other.leg.name) {
			return true
		}
	}
	return false
}

func (h *history) needsGate(f *fate, needs []string) (open bool, err error) {
	for _, name := range needs {
		if need := h.tasks[name]; !need.fulfils(h) && !f.always {
			names := slices.DeleteFunc(slices.Clone(needs), func(n string) bool { return h.tasks[n].fulfils(h) })
			named, isNeed := strings.CutPrefix(f.reason(), "need_failed: ")
			ok := isNeed && slices.Contains(names, named) && h.tasks[named].ends < f.ends
			return false, f.want("skipped", ok, "it needs "+strings.Join(names, ", "))
		}
	}
	for _, name := range needs {
		if h.tasks[name].ends > f.begins {
			return false, fmt.Errorf("it did not wait for %s", name)
		}
	}
	return true, nil
}

// fulfils says whether what needs the task may go on: it ended well, or a condition left it out.
func (f *fate) fulfils(h *history) bool {
	switch {
	case f.effective() >= severity("aborted"):
		return false
	case f.State != "skipped" || len(f.done) > 0 || h.omitted(f.leg):
		return true
	}
	return f.first("decided") != never && f.first("ready") == never && !strings.HasPrefix(f.reason(), "concurrency: ")
}

// scenes are what a late decision may have seen: it was made between two events.
func (h *history) scenes(f *fate) []scene {
	var out []scene
	for _, at := range []int64{f.first("blocked"), min(f.first("decided"), f.ends)} {
		s := h.scene(f.leg)
		s.running, s.outputs, s.status = true, h.outputsBefore(at), h.statusBefore(at)
		out = append(out, s)
	}
	return out
}

// decided says what is wrong with a task that its needs and its stage let go on.
func (h *history) decided(f *fate, s scene, others []*history) error {
	runs := f.runs(s)
	if runs == no {
		return f.want("skipped", f.reason() != "" && f.first("decided") != never, "its condition is false")
	}
	if _, ok := s.outputs[f.late]["v"]; f.late != "" && !ok {
		runs = broken
	}
	for _, step := range f.leg.steps {
		if step.when.judge(s) == broken {
			runs = broken
		}
	}
	switch {
	case runs == broken:
		return f.want("failed", strings.HasPrefix(f.reason(), "condition: "), "its condition cannot be worked out")
	case len(f.done) == 0:
		return f.stoppedElsewhere(others, "it should have run")
	}
	return h.ran(f, s)
}

// ran holds the attempts of a task against its steps.
func (h *history) ran(f *fate, s scene) error {
	steps := h.meant(f.leg, s)
	for i, got := range f.done {
		want := play(steps, i+1, got.cut)
		last := i == len(f.done)-1
		switch {
		case got.epoch != i+1 || !slices.Equal(got.states, want.states):
			return fmt.Errorf("attempt %d ran its steps as %v instead of %v", got.epoch, got.states, want.states)
		case asJSONText(got.outputs) != asJSONText(want.outputs):
			return fmt.Errorf("attempt %d wrote %v instead of %v", got.epoch, got.outputs, want.outputs)
		case f.late != "" && got.late != fmt.Sprint("is ", s.outputs[f.late]["v"]):
			return fmt.Errorf("attempt %d had %q in its variable, from %v", got.epoch, got.late, s.outputs[f.late])
		case (h.again(f.leg, got, i) && !(last && f.wasOrdered())) == last && !f.stoppedBetween():
			return fmt.Errorf("%d attempts, and the last was %s with exit code %d", len(f.done), got.outcome, got.code)
		case last && got.outcome != f.State && !f.stoppedBetween():
			return fmt.Errorf("its last attempt was %s", got.outcome)
		case last && got.epoch == int(f.Epoch) && asJSONText(f.kept) != asJSONText(want.outputs):
			return fmt.Errorf("its outputs are kept as %v instead of %v", f.kept, want.outputs)
		case last && got.epoch == int(f.Epoch) && !slices.Equal(got.states, f.steps):
			return fmt.Errorf("its steps are kept as %v instead of %v", f.steps, got.states)
		}
	}
	return nil
}

// stoppedBetween says whether the task was stopped between two attempts.
func (f *fate) stoppedBetween() bool {
	n := len(f.at["retrying"])
	return f.State == "aborted" && n > 0 && n == len(f.done) && (f.reason() == "sibling_failed" || strings.HasPrefix(f.reason(), "superseded by run "))
}
