package client

import "testing"

// Codes of the state machine are said in words; what is a sentence already stays.
func TestReasonText(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"run_aborted":          "the run was aborted",
		"sibling_failed":       "a task beside it failed",
		"need_failed: unit":    "it needs unit, which has not succeeded",
		"need_failed: a: b":    "it needs a: b, which has not succeeded",
		"concurrency: preview": "the concurrency group preview was full",
		"nothing_failed":       "nothing has failed",
		"stage_failed: build":  "the stage build before it has failed",
		"task_aborted: a":      "the task a before it has been aborted",
		"condition: when: x":   "condition: when: x",
		"superseded by run 19": "superseded by run 19",
	} {
		if got := ReasonText(reason); got != want {
			t.Errorf("%q is %q, want %q", reason, got, want)
		}
	}
}
