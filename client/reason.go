package client

import (
	"fmt"
	"strings"
)

// Reasons of tasks that were stopped: because one beside it failed, or with their run.
const (
	ReasonSibling = "sibling_failed"
	ReasonRun     = "run_aborted"
)

// ReasonText says a reason in words, where the state machine has a code for it.
func ReasonText(reason string) string {
	code, what, _ := strings.Cut(reason, ": ")
	switch code {
	case ReasonRun:
		return "the run was aborted"
	case ReasonSibling:
		return "a task beside it failed"
	case "need_failed":
		return "it needs " + what + ", which has not succeeded"
	case "concurrency":
		return "the concurrency group " + what + " was full"
	case "nothing_failed":
		return "nothing has failed"
	case "stage_failed", "stage_aborted", "task_failed", "task_aborted":
		kind, state, _ := strings.Cut(code, "_")
		return fmt.Sprintf("the %s %s before it has %s", kind, what, map[string]string{"failed": "failed", "aborted": "been aborted"}[state])
	}
	return reason
}
