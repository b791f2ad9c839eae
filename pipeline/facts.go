package pipeline

// Facts are all that a plan depends on beside its file. The zero value is a run that somebody asks for by hand.
type Facts struct {
	Event  Event
	Params map[string]any // as given; texts are read by the type of their declaration
	Tree   Tree           // nil: nothing is known of the source
	Limits Limits
	// Checking says that the file is only looked at, and nothing will run: what a run must give need not be given.
	Checking bool
	// Remotes are the git sources of templates that the caller has fetched, see MissingRemotes.
	Remotes map[Remote]RemoteFile
	// Hashes are answers of hash(…) that the caller has, by its arguments, as Inputs.Hashes keeps them; for who has no tree.
	Hashes map[string]string
}

// Event is what asks for a run.
type Event struct {
	Kind        EventKind    `json:"kind"`
	Branch      string       `json:"branch,omitempty"` // of a pull request: the one to be merged
	Tag         string       `json:"tag,omitempty"`
	SHA         string       `json:"sha,omitempty"`
	Message     string       `json:"message,omitempty"` // of the commit; [skip ci] in it starts nothing, but for schedules and upstreams
	Changed     []string     `json:"changed,omitzero"`  // paths; nil: unknown, which counts as changed
	PullRequest *PullRequest `json:"pull_request,omitempty"`
	Cron        string       `json:"cron,omitempty"` // the schedule that fired, as the Ottofile writes it
	Upstream    *Upstream    `json:"upstream,omitempty"`
}

// EventKind is the kind of an event.
type EventKind string

// The kinds of events.
const (
	EventManual      EventKind = "manual"
	EventPush        EventKind = "push"
	EventPullRequest EventKind = "pull_request"
	EventTag         EventKind = "tag"
	EventSchedule    EventKind = "schedule"
	EventUpstream    EventKind = "upstream"
)

// PullRequest is what is known of a pull request at planning.
type PullRequest struct {
	Number int      `json:"number"`
	Title  string   `json:"title,omitempty"`
	Author string   `json:"author,omitempty"`
	Base   string   `json:"base,omitempty"` // the branch to merge into
	Labels []string `json:"labels,omitempty"`
	Fork   bool     `json:"fork,omitempty"` // comes from another repository
	Draft  bool     `json:"draft,omitempty"`
}

// Upstream is the run of another project that has ended.
type Upstream struct {
	Project string `json:"project"`
	Run     int64  `json:"run,omitempty"`
	State   string `json:"state,omitempty"`
}

// Tree is the source, as far as planning may look at it.
type Tree interface {
	// ReadFile gives a file of at most 1 MiB; the error of one that is not there is fs.ErrNotExist.
	ReadFile(path string) ([]byte, error)
	// Digests gives "sha256:…" of each regular file whose slash-separated path is selected.
	Digests(selected func(path string) bool) (map[string]string, error)
}

// Inputs are the facts that went into a plan, frozen: what changes later (labels, changed files) does not change the plan.
type Inputs struct {
	Event  Event             `json:"event"`
	Params map[string]any    `json:"params,omitempty"` // all that are declared, given or default
	Hashes map[string]string `json:"hashes,omitempty"` // of hash(…), by its arguments
}

// Trigger is what the file's `on` says of the event.
type Trigger struct {
	Starts bool   `json:"starts"`
	Filter string `json:"filter,omitempty"` // the part of `on` that decided, such as on.push.branches
	Reason string `json:"reason,omitempty"` // in words, with the values it saw
}
