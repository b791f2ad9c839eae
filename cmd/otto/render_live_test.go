package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
)

func TestLiveView_colours_tasks_not_attempts(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	v := newLiveView(&out, style{on: true})
	stage := client.Stage{Name: "parallel", Mode: "parallel", Tasks: []client.Task{{Task: 1, Name: "a"}, {Task: 2, Name: "b"}}}
	for _, n := range []struct{ task, attempt int }{{0, 1}, {1, 1}, {0, 2}} {
		log := v.task(stage.Tasks[n.task], n.attempt, stage)
		log.add(client.LogRecord{Kind: client.SegmentStdout, Text: "said\n"})
	}
	var colours []string
	for line := range strings.Lines(out.String()) {
		if before, _, ok := strings.Cut(line, " │ "); ok {
			colours = append(colours, before)
		}
	}
	if len(colours) != 3 || colours[0] != colours[2] || colours[0] == colours[1] {
		t.Errorf("prefixes %q", colours)
	}
}
