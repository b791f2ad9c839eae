package show

import (
	"fmt"
	"slices"

	"github.com/ottoci/otto/pipeline"
)

// graph is a plan as boxes and arrows.
type graph struct {
	name    string
	columns []column // a stage each
	arrows  []arrow
}

// column is a stage and its tasks.
type column struct {
	name, note string
	verdict    pipeline.Verdict
	boxes      []box
	barrier    bool // some of its tasks wait for all stages before
	inOrder    bool // one task after the other
}

// box is a task.
type box struct {
	id      string
	name    string
	notes   []string // below the name
	why     string
	verdict pipeline.Verdict
	needs   bool // says itself what it waits for
}

// arrow leads from a task that is needed to the one that needs it.
type arrow struct{ from, to place }

// place is a box by its column and row.
type place struct{ column, row int }

// graphOf reads a plan as a graph.
func graphOf(p *pipeline.Plan) graph {
	g := graph{name: p.Name}
	at := map[string]place{}
	for _, t := range tasksOf(p) {
		at[t.task.Name] = place{t.at, t.inStage}
	}
	for i := range p.Stages {
		s := &p.Stages[i]
		col := column{name: s.Name, note: stageNote(s), inOrder: s.Mode == pipeline.Linear}
		col.verdict, _ = fateOfStage(s)
		for n := range s.Tasks {
			t := &s.Tasks[n]
			b := box{id: fmt.Sprintf("t%d_%d", i, n), name: t.Name, notes: taskNotes(t), needs: t.Needs != nil}
			b.verdict, b.why = FateOfTask(s, n)
			col.boxes = append(col.boxes, b)
			col.barrier = col.barrier || t.Needs == nil
			for _, need := range t.Needs {
				if from, ok := at[need]; ok {
					g.arrows = append(g.arrows, arrow{from, place{i, n}})
				}
			}
		}
		col.barrier = col.barrier || len(s.Tasks) == 0
		g.columns = append(g.columns, col)
	}
	return g
}

func stageNote(s *pipeline.Stage) string {
	switch {
	case s.OnFailure:
		return "on failure"
	case s.Always:
		return "always"
	case s.Mode == pipeline.Linear && len(s.Tasks) > 1:
		return "one after the other"
	case s.Mode == pipeline.Fanout:
		return "first failure aborts the others"
	}
	return ""
}

// taskNotes are what a box has room for.
func taskNotes(t *pipeline.Task) []string {
	var notes []string
	if t.Image != "" {
		notes = append(notes, t.Image)
	}
	if len(t.Requires) > 0 {
		notes = append(notes, RequiresText(t.Requires))
	}
	if t.MayAdd != nil {
		notes = append(notes, fmt.Sprintf("may add up to %s", Count(t.MayAdd.Max, "task")))
	}
	return notes
}

// barriers are the pairs of stages of which the later one waits for the one before. A stage waits for all before it; those
// that another one between them has waited for need no arrow.
func (g *graph) barriers() [][2]int {
	var pairs [][2]int
	last := 0 // the latest stage that waits
	for i := 1; i < len(g.columns); i++ {
		if !g.columns[i].barrier {
			continue
		}
		for from := last; from < i; from++ {
			pairs = append(pairs, [2]int{from, i})
		}
		last = i
	}
	return pairs
}

// follows says whether a task waits for the one above it.
func (c *column) follows(n int) bool { return n > 0 && c.inOrder && !c.boxes[n].needs }

// class is how pictures call a verdict.
func class(v pipeline.Verdict) string {
	switch v {
	case pipeline.VerdictFalse:
		return "omitted"
	case pipeline.VerdictLater:
		return "later"
	}
	return "runs"
}

// classes are those that occur, so that a legend explains no others.
func (g *graph) classes() []string {
	var found []string
	for _, want := range []string{"runs", "later", "omitted"} {
		if slices.ContainsFunc(g.columns, func(c column) bool {
			return slices.ContainsFunc(c.boxes, func(b box) bool { return class(b.verdict) == want })
		}) {
			found = append(found, want)
		}
	}
	return found
}
