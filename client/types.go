package client

import "time"

// States of runs, stages, tasks and steps. Each kind uses those that make sense for it.
const (
	Pending      = "pending"
	Waiting      = "waiting"
	Blocked      = "blocked"
	Ready        = "ready"
	Scheduled    = "scheduled"
	Provisioning = "provisioning"
	Quarantined  = "quarantined" // cannot be read; a person looks
	Running      = "running"
	Aborting     = "aborting"
	Succeeded    = "succeeded"
	Unstable     = "unstable"
	Failed       = "failed"
	Aborted      = "aborted"
	Skipped      = "skipped"
)

// Final says whether a state has no way out.
func Final(state string) bool {
	switch state {
	case Succeeded, Unstable, Failed, Aborted, Skipped:
		return true
	}
	return false
}

// Run is one execution of a plan.
type Run struct {
	Run         int64        `json:"run" doc:"The number shown to people."`
	ID          string       `json:"id" format:"uuid" doc:"The run id for machines."`
	Project     string       `json:"project"`
	Name        string       `json:"name,omitempty" doc:"The plan's name."`
	State       string       `json:"state" enum:"pending,running,blocked,aborting,succeeded,unstable,failed,aborted,skipped"`
	Reason      string       `json:"reason,omitempty" doc:"Why, where the state alone does not say."`
	Warnings    bool         `json:"warnings,omitempty" doc:"Something failed that was allowed to."`
	Source      string       `json:"source,omitempty" doc:"Digest of the source bundle."`
	Repository  string       `json:"repository,omitempty" doc:"Address of the repository that its agents check out."`
	Ref         string       `json:"ref,omitempty" doc:"The branch or tag that the commit was found by."`
	Commit      string       `json:"commit,omitempty" doc:"The commit that they check out."`
	Plan        string       `json:"plan,omitempty" doc:"Digest of the plan."`
	RerunOf     int64        `json:"rerun_of,omitempty"`
	Priority    int          `json:"priority,omitempty" doc:"Minutes of waiting that its tasks are ahead of the project's others."`
	CreatedBy   string       `json:"created_by"`
	CreatedAt   time.Time    `json:"created_at"`
	StartedAt   *time.Time   `json:"started_at,omitempty"`
	FinishedAt  *time.Time   `json:"finished_at,omitempty"`
	Diagnostics []Diagnostic `json:"diagnostics,omitempty" doc:"What planning had to say."`
}

// RunDetail is a run with its stages and tasks.
type RunDetail struct {
	Run
	Stages []Stage `json:"stages"`
}

// Stage of a run.
type Stage struct {
	Name       string     `json:"name"`
	Mode       string     `json:"mode" enum:"linear,parallel,fanout"`
	Always     bool       `json:"always,omitempty"`
	State      string     `json:"state" enum:"waiting,running,succeeded,unstable,failed,aborted,skipped"`
	Warnings   bool       `json:"warnings,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Tasks      []Task     `json:"tasks"`
}

// Task of a run.
type Task struct {
	Task         int64          `json:"task"`
	Run          int64          `json:"run"`
	Stage        string         `json:"stage"`
	Name         string         `json:"name"`
	State        string         `json:"state" enum:"waiting,blocked,ready,scheduled,provisioning,running,succeeded,unstable,failed,aborted,skipped,quarantined"`
	Reason       string         `json:"reason,omitempty"`
	WaitingFor   string         `json:"waiting_for,omitempty" doc:"What a task that is not running waits for."`
	Attempt      int            `json:"attempt" doc:"Number of the current attempt; 0 before the first."`
	Agent        string         `json:"agent,omitempty" doc:"Name of the agent of the current attempt."`
	Isolation    string         `json:"isolation,omitempty" doc:"The level of isolation, S0 to S4, that the current attempt runs with, as its agent says."`
	Warm         bool           `json:"warm,omitempty" doc:"The agent of the current attempt had lately worked for the project, and was preferred for that."`
	Requires     map[string]any `json:"requires,omitempty"`
	ExitCode     *int           `json:"exit_code,omitempty"`
	AllowFailure bool           `json:"allow_failure,omitempty"`
	ReadyAt      *time.Time     `json:"ready_at,omitempty"`
	StartedAt    *time.Time     `json:"started_at,omitempty"`
	FinishedAt   *time.Time     `json:"finished_at,omitempty"`
	Steps        []Step         `json:"steps,omitempty" doc:"Steps of the current attempt."`

	Outputs          map[string]any `json:"outputs,omitempty" doc:"Of the last attempt, by name, once the task has ended."`
	OutputsElsewhere bool           `json:"outputs_elsewhere,omitempty" doc:"It has outputs, and those of the whole run are too large for this answer: see task-show."`
}

// TaskDetail is a task with all its attempts.
type TaskDetail struct {
	Task
	Attempts []Attempt `json:"attempts"`
	Auctions []Auction `json:"auctions,omitempty" doc:"In which it was auctioned, the newest first."`
}

// TaskWhy is why a task does not run.
type TaskWhy struct {
	Task     int64          `json:"task"`
	Name     string         `json:"name"`
	Run      int64          `json:"run"`
	State    string         `json:"state"`
	Text     string         `json:"text" doc:"In one sentence."`
	Requires map[string]any `json:"requires,omitempty"`
	Pool     string         `json:"pool" doc:"The pool whose agents may have it."`
	Ahead    int            `json:"ahead,omitempty" doc:"How many of its project's tasks stand before it, if it is ready."`
	Blockers []Blocker      `json:"blockers" doc:"What holds it back. None: it is over, or an agent has it or is free to take it."`
}

// Blocker is something that holds a task back, and what lies behind that.
type Blocker struct {
	Kind     string    `json:"kind" doc:"need, stage, sibling, task, condition, group, holder, delay, pool, agents, requirement, capacity, lease, quarantined; of an agent also its state."`
	Text     string    `json:"text"`
	Hint     string    `json:"hint,omitempty" doc:"What to do, or where to look."`
	Task     int64     `json:"task,omitempty"`
	Agent    int64     `json:"agent,omitempty"`
	Blockers []Blocker `json:"blockers,omitempty"`
}

// Attempt is one lease of a task.
type Attempt struct {
	Lease       string     `json:"lease" format:"uuid"`
	Attempt     int        `json:"attempt"`
	Agent       string     `json:"agent"`
	Warm        bool       `json:"warm,omitempty" doc:"The agent had lately worked for the project, and was preferred for that."`
	EndReason   string     `json:"end_reason,omitempty"`
	Isolation   string     `json:"isolation,omitempty" doc:"The level of isolation, S0 to S4, that it ran with, as its agent says."`
	ExitCode    *int       `json:"exit_code,omitempty"`
	GrantedAt   time.Time  `json:"granted_at"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	LogBytes    int64      `json:"log_bytes"`
	LogLines    int64      `json:"log_lines"`
	LogComplete bool       `json:"log_complete"`
	Steps       []Step     `json:"steps"`
}

// Step of an attempt.
type Step struct {
	Index      int        `json:"index"`
	Name       string     `json:"name"`
	State      string     `json:"state" enum:"waiting,running,succeeded,unstable,failed,aborted,skipped"`
	Reason     string     `json:"reason,omitempty"`
	ExitCode   *int       `json:"exit_code,omitempty"`
	DurationMS int64      `json:"duration_ms,omitempty"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
}

// Event is one transition.
type Event struct {
	ID      string         `json:"id" doc:"Cursor: resume after it with Last-Event-ID or after=."`
	Kind    string         `json:"kind" doc:"Such as run.started."`
	Alias   []string       `json:"alias,omitempty" doc:"The names that Otto's ancestors gave this event."`
	Run     int64          `json:"run,omitempty"`
	Stage   string         `json:"stage,omitempty"`
	Task    int64          `json:"task,omitempty"`
	Name    string         `json:"name,omitempty" doc:"Name of the task."`
	Attempt int            `json:"attempt,omitempty" doc:"Number of the task's attempt."`
	Step    *int           `json:"step,omitempty"`
	Actor   string         `json:"actor"`
	Data    map[string]any `json:"data"`
	At      time.Time      `json:"at"`
}

// Agent is a program that runs tasks.
type Agent struct {
	Agent    int64          `json:"agent"`
	Name     string         `json:"name"`
	State    string         `json:"state" enum:"online,draining,offline,disabled"`
	Version  string         `json:"version"`
	Pool     string         `json:"pool" doc:"It gets the tasks of this pool only."`
	Capacity int            `json:"capacity"`
	Busy     int            `json:"busy" doc:"Leases it holds."`
	Offers   map[string]any `json:"offers"`
	SeenAt   time.Time      `json:"seen_at"`
	Enrolled time.Time      `json:"enrolled_at"`
}

// LeaseInfo is a lease as people see it.
type LeaseInfo struct {
	Lease     string     `json:"lease" format:"uuid"`
	Run       int64      `json:"run"`
	Task      int64      `json:"task"`
	Name      string     `json:"name"`
	Attempt   int        `json:"attempt"`
	Agent     string     `json:"agent"`
	Isolation string     `json:"isolation,omitempty" doc:"The level of isolation, S0 to S4, that it runs with, as its agent says."`
	GrantedAt time.Time  `json:"granted_at"`
	StartedAt *time.Time `json:"started_at,omitempty"`
	ExpiresAt time.Time  `json:"expires_at"`
	AbortAt   *time.Time `json:"abort_at,omitempty"`
}

// Diagnostic is one finding about an Ottofile. Its text is the same at every door.
type Diagnostic struct {
	Code       string `json:"code" doc:"Stable, such as OTTO1012."`
	Severity   string `json:"severity" enum:"error,warning,hint"`
	Message    string `json:"message"`
	File       string `json:"file,omitempty"`
	Line       int    `json:"line,omitempty"`
	Column     int    `json:"column,omitempty"`
	Snippet    string `json:"snippet,omitempty" doc:"The lines around the place, with a caret."`
	Suggestion string `json:"suggestion,omitempty"`
	Used       string `json:"used,omitempty" doc:"For a place in a template: where the template is used."`
}

// Source is a stored source bundle.
type Source struct {
	Digest    string    `json:"digest"`
	Bytes     int64     `json:"bytes"`
	CreatedAt time.Time `json:"created_at"`
}

// Project binds a repository to its settings.
type Project struct {
	Project   string    `json:"project" doc:"Its name."`
	CreatedAt time.Time `json:"created_at"`
}

// Health is the answer of a server that is well.
type Health struct {
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}

// Self is who a token belongs to, and who answers.
type Self struct {
	Token   int64  `json:"token" doc:"Number of the token."`
	Name    string `json:"name"`
	Role    string `json:"role" enum:"reader,writer,admin"`
	Actor   string `json:"actor" doc:"How events name this caller."`
	Server  string `json:"server" doc:"Name of the node that answers."`
	Version string `json:"version" doc:"Version of the server."`
}

// Token is a credential, without its secret.
type Token struct {
	Token      int64      `json:"token"`
	Kind       string     `json:"kind" enum:"user,enrol,agent,orchestrator"`
	Name       string     `json:"name"`
	Role       string     `json:"role" enum:"reader,writer,admin,enrol,agent,enrol-orchestrator,orchestrator"`
	Pool       string     `json:"pool,omitempty" doc:"Of the agent that enrols with it."`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
}

// TokenCreate asks for a token.
type TokenCreate struct {
	Name      string `json:"name" minLength:"1" maxLength:"100"`
	Role      string `json:"role" enum:"reader,writer,admin,enrol,enrol-orchestrator" doc:"enrol: one use, to enrol an agent; enrol-orchestrator: likewise an orchestrator."`
	Pool      string `json:"pool,omitempty" maxLength:"100" doc:"Of an enrol token: the pool of the agent that enrols with it; \"default\" if absent."`
	ExpiresMS int64  `json:"expires_ms,omitempty" minimum:"0" doc:"0: an enrol token lives one hour, others do not expire."`
}

// TokenCreated shows the secret this once.
type TokenCreated struct {
	Token
	Secret string `json:"secret"`
}

// RunCreate starts a run, from a stored source or from a stored plan.
type RunCreate struct {
	Project  string `json:"project,omitempty" maxLength:"100" doc:"Made when it is new; \"default\" if absent."`
	Source   string `json:"source,omitempty" doc:"Digest of an uploaded source bundle."`
	Ottofile string `json:"ottofile,omitempty" maxLength:"1000" doc:"Path of the Ottofile in the source; found by convention if absent."`
	Plan     string `json:"plan,omitempty" doc:"Digest of a stored plan. Without it the run is planned from the source."`

	Repository string `json:"repository,omitempty" maxLength:"2000" doc:"Instead of a source: the address of a repository, without credentials, of which each task checks a commit out. Needs a plan."`
	Ref        string `json:"ref,omitempty" maxLength:"255" doc:"The branch or tag that the commit was found by, for steps and people to read."`
	Commit     string `json:"commit,omitempty" maxLength:"64" doc:"With a repository: the commit, 40 or 64 hexadecimal digits."`

	Event  *SourceEvent   `json:"event,omitempty" doc:"What asks for the run; absent: a person, by hand. A run is kept even if the event starts nothing: it is skipped, with the reason."`
	Params map[string]any `json:"params,omitempty" doc:"Parameters by name, 64 KiB at most. Texts are read by the type of their declaration."`

	Priority int `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Its tasks come before those of the project's other runs as if they had waited so many minutes longer."`
}

// RunAbort says why.
type RunAbort struct {
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}

// PlanCreate asks for a plan. Give an Ottofile's text, or the model of Otto's ancestor (batches of contexts).
type PlanCreate struct {
	Ottofile string         `json:"ottofile,omitempty" doc:"Text of an Ottofile."`
	File     string         `json:"file,omitempty" maxLength:"1000" doc:"Its name, for diagnostics."`
	Model    map[string]any `json:"model,omitempty" doc:"A pipeline in the form {uuid, batches: [{mode, contexts: [{uuid, properties, environment, steps}]}]}."`

	Event  *SourceEvent   `json:"event,omitempty" doc:"What would ask for a run; absent: a person, by hand. Not with a model."`
	Params map[string]any `json:"params,omitempty" doc:"Parameters by name, 64 KiB at most. Texts are read by the type of their declaration. Not with a model."`

	Files   map[string]string `json:"files,omitempty" doc:"Files of the source that the Ottofile uses: templates and otto.lock, by path."`
	Remotes []RemoteFile      `json:"remotes,omitempty" maxItems:"1000" doc:"Templates that it uses from git."`
	Hashes  map[string]string `json:"hashes,omitempty" doc:"What hash(…) answers in the source, by its arguments, separated by comma and space."`
}

// RemoteFile is a template from git, as the Ottofile or otto.lock names it.
type RemoteFile struct {
	Repo   string `json:"repo" maxLength:"2000" doc:"URL of the repository, with the protocol https, ssh or file."`
	Ref    string `json:"ref" maxLength:"200"`
	Path   string `json:"path" maxLength:"1000"`
	Commit string `json:"commit" maxLength:"64"`
	Text   string `json:"text"`
}

// PlanAnswer is a plan with its digest. With errors among the diagnostics there is no plan.
type PlanAnswer struct {
	Digest      string         `json:"digest,omitempty"`
	Plan        map[string]any `json:"plan,omitempty"`
	Diagnostics []Diagnostic   `json:"diagnostics"`
}

// Page is a page of a list. Next is the cursor of the page after it; absent on the last.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}
