package api

import (
	"encoding/json"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/pipeline"
)

// Limits of what a run is planned with, beside those of the document.
const (
	maxParams  = 64 << 10 // bytes as JSON
	maxChanged = 1 << 20  // likewise, of all paths together
)

// factsIn checks what a run is asked for with, and writes it as the database keeps it: nothing where nothing was said.
func factsIn(event *client.SourceEvent, params map[string]any) (eventBody, paramsBody json.RawMessage, err error) {
	if event != nil {
		if err := checkEvent(*event); err != nil {
			return nil, nil, err
		}
		if eventBody, err = json.Marshal(event); err != nil {
			return nil, nil, err
		}
	}
	if len(params) > 0 {
		if paramsBody, err = json.Marshal(params); err != nil {
			return nil, nil, err
		}
		if len(paramsBody) > maxParams {
			return nil, nil, newProblem(codeInvalid, "the parameters are %d KiB of JSON, and %d are allowed", len(paramsBody)>>10, maxParams>>10)
		}
	}
	return eventBody, paramsBody, nil
}

// checkEvent refuses an event that says less, or more, than its kind.
func checkEvent(e client.SourceEvent) error {
	for _, part := range []struct {
		name  string
		kind  pipeline.EventKind
		there bool
	}{
		{"tag", pipeline.EventTag, e.Tag != ""},
		{"pull_request", pipeline.EventPullRequest, e.PullRequest != nil},
		{"cron", pipeline.EventSchedule, e.Cron != ""},
		{"upstream", pipeline.EventUpstream, e.Upstream != nil},
	} {
		switch is := pipeline.EventKind(e.Kind) == part.kind; {
		case is && !part.there:
			return newProblem(codeInvalid, "an event of the kind %s needs %s", e.Kind, part.name)
		case !is && part.there:
			return newProblem(codeInvalid, "%s is of an event of the kind %s, and this is of the kind %s", part.name, part.kind, e.Kind)
		}
	}
	total := 0
	for _, path := range e.Changed {
		total += len(path)
	}
	if total > maxChanged {
		return newProblem(codeInvalid, "the changed paths are %d KiB together, and %d are allowed", total>>10, maxChanged>>10).
			hint("leave changed out: what is unknown counts as changed")
	}
	return nil
}

// facts are what a plan is made with where there is no source.
func facts(event *client.SourceEvent, params map[string]any) (pipeline.Facts, error) {
	out := pipeline.Facts{Params: params}
	_, _, err := factsIn(event, params)
	if err != nil || event == nil {
		return out, err
	}
	out.Event = pipeline.Event{
		Kind: pipeline.EventKind(event.Kind), Branch: event.Branch, Tag: event.Tag, SHA: event.SHA, Message: event.Message,
		Changed: event.Changed, Cron: event.Cron,
	}
	if event.PullRequest != nil {
		pull := pipeline.PullRequest(*event.PullRequest)
		out.Event.PullRequest = &pull
	}
	if event.Upstream != nil {
		up := pipeline.Upstream(*event.Upstream)
		out.Event.Upstream = &up
	}
	return out, nil
}
