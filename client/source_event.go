package client

// SourceEvent is what asks for a run.
type SourceEvent struct {
	Kind        string       `json:"kind" enum:"manual,push,pull_request,tag,schedule,upstream"`
	Branch      string       `json:"branch,omitempty" maxLength:"255" doc:"Of a pull request: the one to be merged."`
	Tag         string       `json:"tag,omitempty" maxLength:"255"`
	SHA         string       `json:"sha,omitempty" maxLength:"64" doc:"The commit."`
	Message     string       `json:"message,omitempty" maxLength:"65536" doc:"Of the commit; [skip ci] in it starts nothing."`
	Changed     []string     `json:"changed,omitzero" maxItems:"10000" doc:"Paths that differ. Absent: unknown, which counts as changed; an empty list: nothing."`
	PullRequest *PullRequest `json:"pull_request,omitempty"`
	Cron        string       `json:"cron,omitempty" maxLength:"255" doc:"The schedule that fired, as the Ottofile writes it."`
	Upstream    *Upstream    `json:"upstream,omitempty"`
}

// PullRequest is what is known of a pull request at planning.
type PullRequest struct {
	Number int      `json:"number" minimum:"1"`
	Title  string   `json:"title,omitempty" maxLength:"1000"`
	Author string   `json:"author,omitempty" maxLength:"255"`
	Base   string   `json:"base,omitempty" maxLength:"255" doc:"The branch to merge into."`
	Labels []string `json:"labels,omitempty" maxItems:"100"`
	Fork   bool     `json:"fork,omitempty" doc:"It comes from another repository."`
	Draft  bool     `json:"draft,omitempty"`
}

// Upstream is the run of another project that has ended.
type Upstream struct {
	Project string `json:"project" minLength:"1" maxLength:"100"`
	Run     int64  `json:"run,omitempty" minimum:"1"`
	State   string `json:"state,omitempty" enum:"succeeded,unstable,failed,aborted,skipped"`
}
