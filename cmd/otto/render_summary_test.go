package main

import (
	"strings"
	"testing"

	"github.com/ottoci/otto/client"
)

// Whoever looks at a run sees which agents were preferred; whoever watches one does not.
func TestSummaryTellsWarmth(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		task  client.Task
		steps bool
		want  string
	}{
		{"alone", client.Task{Warm: true, Agent: "ann"}, true, "warm agent ann"},
		{"after_another_note", client.Task{Warm: true, Agent: "ann", Attempt: 2, Isolation: "S1"}, true, "attempt 2, isolation S1, warm agent ann"},
		{"not_warm", client.Task{Agent: "ann"}, true, ""},
		{"watched", client.Task{Warm: true, Agent: "ann"}, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.task.Name, tt.task.State = "build", client.Succeeded
			s := &summary{steps: tt.steps, run: client.RunDetail{Stages: []client.Stage{{Name: "build", State: client.Succeeded, Tasks: []client.Task{tt.task}}}}}
			s.table()
			got := s.String()
			if !strings.Contains(got, tt.want) || tt.want == "" && strings.Contains(got, "warm") {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
		})
	}
}
