package api

import (
	"slices"
	"strings"

	"github.com/ottoci/otto/client"
)

// runStates reads states as people and Otto's ancestors write them, into ours.
func runStates(words []string) ([]string, error) {
	states := []string{}
	for _, word := range words {
		state := stateOf(word)
		if !slices.Contains(allRunStates(), state) {
			return nil, newProblem(codeInvalid, "%q is not a state of a run", word).hint("it is one of %s", strings.Join(allRunStates(), ", "))
		}
		states = append(states, state)
	}
	return states, nil
}

func allRunStates() []string {
	return []string{client.Pending, client.Running, client.Blocked, client.Aborting,
		client.Succeeded, client.Unstable, client.Failed, client.Aborted, client.Skipped}
}

// stateOf maps other spellings to ours; what it does not know stays as it is.
func stateOf(word string) string {
	word = strings.ToLower(strings.TrimSpace(word))
	switch word {
	case "success", "successful", "complete", "completed", "passed", "green":
		return client.Succeeded
	case "failure", "fail", "error", "errored", "red":
		return client.Failed
	case "cancelled", "canceled", "abort", "stopped":
		return client.Aborted
	case "cancelling", "canceling":
		return client.Aborting
	case "queued", "created", "new":
		return client.Pending
	case "in_progress", "started":
		return client.Running
	case "paused", "waiting":
		return client.Blocked
	}
	return word
}
