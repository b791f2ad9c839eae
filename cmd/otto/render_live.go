package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline/show"
)

// liveView shows a run to a person while it happens, and sums it up.
type liveView struct {
	screen *screen
	own    *lane // for what belongs to no task
	style  style
	out    io.Writer // for the summary
	silent bool      // nothing but the summary is shown

	mu      sync.Mutex
	stage   string        // of the task that began last
	colours map[int64]int // of the prefixes, by task: an attempt keeps its task's
	failed  map[int64][]*failedStep
}

func newLiveView(out io.Writer, s style) *liveView {
	v := &liveView{screen: &screen{out: out}, style: s, out: out, failed: map[int64][]*failedStep{}, colours: map[int64]int{}}
	v.own = &lane{screen: v.screen}
	return v
}

// newQuietView shows nothing but the end.
func newQuietView(out io.Writer, s style) *liveView {
	v := newLiveView(out, s)
	v.screen.out, v.silent = io.Discard, true
	return v
}

func (v *liveView) start(run client.RunDetail) {
	v.line(v.style.bold(strings.TrimSpace(fmt.Sprintf("run %d %s", run.Run.Run, run.Name))) + v.style.dim(" in project "+run.Project))
}

func (v *liveView) line(text string) { v.own.line(text) }

func (v *liveView) event(e client.Event) {
	switch e.Kind {
	case "task.interrupted":
		v.line(v.style.paint("33", fmt.Sprintf("! %s was interrupted and runs again", e.Name)))
	case "run.aborting":
		v.line(v.style.paint("33", "■ aborting"))
	}
}

// task gives the task a way to the screen: with a prefix if others of its stage run at the same time.
func (v *liveView) task(t client.Task, attempt int, stage client.Stage) taskLog {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := &lane{screen: v.screen}
	title := t.Name
	if stage.Name != t.Name && stage.Name != "" {
		title = stage.Name + " / " + t.Name
	}
	if attempt > 1 {
		title += fmt.Sprintf(" (attempt %d)", attempt)
	}
	if stage.Mode != "linear" && len(stage.Tasks) > 1 {
		if v.stage != stage.Name {
			v.line("\n" + v.style.bold(stage.Name) + v.style.dim(": "+show.Count(len(stage.Tasks), "task")+" at once"))
		}
		if _, given := v.colours[t.Task]; !given {
			v.colours[t.Task] = len(v.colours)
		}
		l.prefix = v.style.prefix(v.colours[t.Task], pad(t.Name, prefixWidth(stage))+" │ ")
	} else {
		l.line("\n" + v.style.bold(title))
	}
	v.stage = stage.Name
	return &liveTask{taskView{lane: l, style: v.style, steps: t.Steps}, v, t.Task}
}

// liveTask keeps what went wrong for the summary.
type liveTask struct {
	taskView
	of   *liveView
	task int64
}

func (t *liveTask) close(steps []client.Step) {
	t.lane.finish()
	t.breakOff(steps)
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.of.failed[t.task] = t.failed
}

func (v *liveView) end(run client.RunDetail) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, steps := range v.failed {
		for _, f := range steps {
			f.last = !v.silent && v.screen.isLast(f.at)
		}
	}
	v.own.finish()
	s := summary{style: v.style, run: run, failed: v.failed}
	s.write()
	s.failures()
	s.hints()
	_, _ = io.WriteString(v.out, s.String())
}

// longestPrefix keeps the output of a task with a long name on the screen.
const longestPrefix = 24

func prefixWidth(stage client.Stage) int {
	width := 0
	for _, t := range stage.Tasks {
		width = max(width, len([]rune(t.Name)))
	}
	return min(width, longestPrefix)
}

// pad makes a text exactly so wide.
func pad(text string, width int) string {
	runes := []rune(text)
	if len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text + strings.Repeat(" ", width-len(runes))
}
