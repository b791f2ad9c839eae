package client

// The agent protocol: plain JSON over HTTP. An agent enrols once, then says hello at each start, holds one lease
// request open as its command channel, sends a heartbeat on its own clock, and reports what it does with each lease.
// Every call may be repeated; the answer is the same. A 409 with code "fenced" means: the lease is lost, kill its work.

// AgentOffer is what an agent says of itself.
type AgentOffer struct {
	Name     string         `json:"name" minLength:"1" maxLength:"100" doc:"Shown to people; need not be unique."`
	Version  string         `json:"version" maxLength:"100" doc:"Version of the agent program."`
	Capacity int            `json:"capacity" minimum:"1" maximum:"1024" doc:"Tasks it runs at the same time."`
	Offers   map[string]any `json:"offers,omitempty" doc:"Capabilities: string, boolean, number or list of strings by name."`
	Protocol []string       `json:"protocol,omitempty" doc:"Protocol features it knows."`
}

// AgentEnrolled is the answer to an enrolment. The token is shown this once.
type AgentEnrolled struct {
	Agent    Agent         `json:"agent"`
	Token    string        `json:"token" doc:"The agent's credential."`
	Settings AgentSettings `json:"settings"`
}

// AgentWelcome answers hello.
type AgentWelcome struct {
	Agent    Agent         `json:"agent"`
	Settings AgentSettings `json:"settings"`
}

// AgentSettings are the server's rules for an agent.
type AgentSettings struct {
	LeaseTTLMS  int64    `json:"lease_ttl_ms" doc:"A lease that is not renewed for this long may be given to another agent."`
	HeartbeatMS int64    `json:"heartbeat_ms" doc:"Send a heartbeat this often."`
	GraceMS     int64    `json:"grace_ms" doc:"Time between SIGTERM and SIGKILL."`
	ChunkBytes  int      `json:"chunk_bytes" doc:"Largest raw size of a log chunk."`
	Protocol    []string `json:"protocol" doc:"Protocol features that the server knows."`
}

// LeaseRequest asks for work, and holds the connection until there is some, an order arrives, or the wait is over.
type LeaseRequest struct {
	Free   int   `json:"free" minimum:"0" maximum:"1024" doc:"How many more tasks the agent can run now; 0 waits for orders only."`
	WaitMS int64 `json:"wait_ms,omitempty" minimum:"0" maximum:"60000" doc:"How long to hold the request; 30 s if absent."`
	// Only for servers that know ProtocolCounting; others refuse it.
	Counting int64 `json:"counting,omitempty" minimum:"0" doc:"If not 0: a number for this request. Each result of the agent that is taken while it is held adds one to free, and is answered with the number."`
}

// ProtocolCounting is the name of LeaseRequest.Counting among the features of the protocol.
const ProtocolCounting = "free-counting"

// LeaseAnswer brings work and orders. Both may be empty.
type LeaseAnswer struct {
	Leases       []Lease `json:"leases"`
	Aborts       []Abort `json:"aborts"`
	RetryAfterMS int64   `json:"retry_after_ms,omitempty" doc:"Wait this long before the next request."`
}

// Lease is one attempt of a task by one agent. ID and Epoch go with every report.
type Lease struct {
	ID      string     `json:"id" format:"uuid"`
	Epoch   int        `json:"epoch" doc:"Number of the attempt, from 1."`
	Task    int64      `json:"task"`
	Run     int64      `json:"run"`
	RunID   string     `json:"run_id" format:"uuid"`
	Project string     `json:"project"`
	Stage   string     `json:"stage"`
	Spec    TaskSpec   `json:"spec"`
	Source  *SourceRef `json:"source,omitempty"`
	// Only for agents that offer OfferCheckout.
	Checkout *Checkout `json:"checkout,omitempty" doc:"The commit that the workspace begins with, instead of a source."`
}

// SourceRef names a source bundle.
type SourceRef struct {
	Digest string `json:"digest"`
	Bytes  int64  `json:"bytes"`
}

// TaskSpec is a task of the plan, as the agent needs it.
type TaskSpec struct {
	Name      string            `json:"name"`
	Env       map[string]string `json:"env,omitempty"`
	TimeoutMS int64             `json:"timeout_ms"`
	Image     string            `json:"image,omitempty" doc:"The container that its steps run in. An agent that runs no containers fails the task."`
	Container *ContainerSpec    `json:"container,omitempty" doc:"More of the container, with image."`
	Services  []ServiceSpec     `json:"services,omitempty" doc:"Containers beside it, which its steps reach by their names."`
	Fallback  string            `json:"fallback,omitempty" enum:"host" doc:"Where the task may run on an agent that runs no containers."`
	Isolation int               `json:"isolation,omitempty" minimum:"0" maximum:"4" doc:"The level of isolation, S0 to S4, that its steps need at least."`
	Limits    *Limits           `json:"limits,omitempty"`
	OnLost    string            `json:"on_lost,omitempty" enum:"retry,fail" doc:"What follows when its agent is lost. With fail, an agent that cannot renew the lease stops the task before it runs out."`
	Outputs   map[string]string `json:"outputs,omitempty" doc:"The outputs that the task may have: string, boolean, integer, number or json, by name."`
	Checkout  *CheckoutSpec     `json:"checkout,omitempty" doc:"How much of the repository it wants."`
	Steps     []StepSpec        `json:"steps"`
}

// Limits bound what a task takes of its agent's machine; 0 is no limit.
type Limits struct {
	Memory    int64   `json:"memory,omitempty" minimum:"0" doc:"Bytes, of all its processes together."`
	Processes int64   `json:"processes,omitempty" minimum:"0" doc:"Processes and threads."`
	CPU       float64 `json:"cpu,omitempty" minimum:"0" doc:"Cores."`
	OpenFiles int64   `json:"open_files,omitempty" minimum:"0" doc:"Of each process."`
	Disk      int64   `json:"disk,omitempty" minimum:"0" doc:"Bytes in its workspace, home and temporary directory."`
	Output    int64   `json:"output,omitempty" minimum:"0" doc:"Bytes that it writes to its log."`
}

// Within are these limits, or the others where those are stricter.
func (l Limits) Within(others Limits) Limits {
	return Limits{
		Memory: stricter(l.Memory, others.Memory), Processes: stricter(l.Processes, others.Processes), CPU: stricter(l.CPU, others.CPU),
		OpenFiles: stricter(l.OpenFiles, others.OpenFiles), Disk: stricter(l.Disk, others.Disk), Output: stricter(l.Output, others.Output),
	}
}

func stricter[T int64 | float64](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// ProtocolIsolation names among the features of the protocol that an agent knows isolation and limits of a task, and that a
// server knows the isolation of LeaseStart. A task that has one of them goes to no other agent.
const ProtocolIsolation = "isolation"

// ProtocolTask names among the features of the protocol that an agent knows image, outputs, shell and omitted of a task.
// A task that has one of them goes to no other agent.
const ProtocolTask = "task-2"

// ProtocolContainers names that it also knows container, services and fallback.
const ProtocolContainers = "task-3"

// AgentFeatures are the features of the protocol by which tasks choose agents, as an agent of this version knows them.
func AgentFeatures() []string { return []string{ProtocolTask, ProtocolContainers, ProtocolIsolation} }

// ContainerSpec is what a task says of its container beside the image's name. All but pull and user is given only where the
// project has a grant for it and the agent allows it.
type ContainerSpec struct {
	Pull         string      `json:"pull,omitempty" enum:"missing,always,never" doc:"When the image is pulled; missing if absent."`
	User         string      `json:"user,omitempty" doc:"Whose processes the steps are, by name or number; the agent's user if absent."`
	Privileged   bool        `json:"privileged,omitempty"`
	DockerSocket bool        `json:"docker_socket,omitempty"`
	HostNetwork  bool        `json:"host_network,omitempty"`
	Mounts       []MountSpec `json:"mounts,omitempty"`
}

// MountSpec is a directory of the host that a container sees.
type MountSpec struct {
	Host     string `json:"host"`
	At       string `json:"at"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// ServiceSpec is a container beside the one of the steps.
type ServiceSpec struct {
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Pull    string            `json:"pull,omitempty" enum:"missing,always,never"`
	Env     map[string]string `json:"env,omitempty"`
	Command []string          `json:"command,omitempty" doc:"Instead of the image's own."`
	Health  *HealthSpec       `json:"health,omitempty" doc:"The image's own if absent."`
}

// HealthSpec says how to find out that a service is ready: its command ends with 0.
type HealthSpec struct {
	Command    []string `json:"command"`
	IntervalMS int64    `json:"interval_ms,omitempty"`
	TimeoutMS  int64    `json:"timeout_ms,omitempty"`
	Retries    int      `json:"retries,omitempty"`
}

// StepSpec is a step of the plan.
type StepSpec struct {
	Name         string            `json:"name"`
	Sh           string            `json:"sh"`
	Env          map[string]string `json:"env,omitempty"`
	Shell        []string          `json:"shell,omitempty" doc:"The command that gets the script's file as its last argument; /bin/sh -e if absent."`
	Omitted      string            `json:"omitted,omitempty" doc:"Why the step does not run: it is reported as skipped with this reason."`
	Dir          string            `json:"dir,omitempty"`
	TimeoutMS    int64             `json:"timeout_ms,omitempty"`
	AllowFailure bool              `json:"allow_failure,omitempty"`
	Always       bool              `json:"always,omitempty"`
	ExitCodes    map[string]string `json:"exit_codes"`
}

// Abort is an order to stop the work of a lease.
type Abort struct {
	Lease  string `json:"lease" format:"uuid"`
	Level  string `json:"level" enum:"abort,kill" doc:"abort: stop the step, then run the steps marked always. kill: stop everything."`
	Reason string `json:"reason"`
}

// Heartbeat renews all leases that the agent names.
type Heartbeat struct {
	Leases   []string `json:"leases" doc:"Every lease the agent holds."`
	Draining bool     `json:"draining,omitempty" doc:"The agent takes no more work."`
}

// HeartbeatAnswer brings orders and the leases that are no longer the agent's.
type HeartbeatAnswer struct {
	Aborts []Abort  `json:"aborts"`
	Fenced []string `json:"fenced" doc:"Leases that are lost: kill their work."`
}

// LeaseStart says that the work of a lease begins.
type LeaseStart struct {
	Epoch int `json:"epoch"`
	// Only for servers that know ProtocolIsolation; others refuse it.
	Isolation *int         `json:"isolation,omitempty" minimum:"0" maximum:"4" doc:"The level of isolation, S0 to S4, that the steps run with."`
	Steps     []StepReport `json:"steps,omitempty"`
}

// StepReports says what became of steps.
type StepReports struct {
	Epoch int          `json:"epoch"`
	Steps []StepReport `json:"steps"`
}

// StepReport is one step's state.
type StepReport struct {
	Index      int    `json:"index" minimum:"0"`
	State      string `json:"state" enum:"running,succeeded,unstable,failed,aborted,skipped"`
	ExitCode   *int   `json:"exit_code,omitempty" doc:"128+n when killed by signal n."`
	Reason     string `json:"reason,omitempty" maxLength:"1000" doc:"Why, where the exit code does not say: timeout, signal, …"`
	DurationMS int64  `json:"duration_ms,omitempty"`
}

// LogChunk carries up to chunk_bytes of a lease's log. Chunks are numbered from 0 without gaps.
type LogChunk struct {
	Epoch    int       `json:"epoch"`
	Seq      int       `json:"seq" minimum:"0"`
	Encoding string    `json:"encoding" enum:"identity,zstd"`
	Bytes    int       `json:"bytes" minimum:"0" doc:"Raw size."`
	Segments []Segment `json:"segments" doc:"What the raw bytes are, in order; their sizes add up to bytes."`
	Data     []byte    `json:"data,omitempty" doc:"The bytes, encoded, in base64."`
}

// Segment kinds.
const (
	SegmentBegin  = "begin"  // a step begins; no bytes
	SegmentStdout = "stdout" // bytes of the step's standard output
	SegmentStderr = "stderr" // bytes of the step's standard error
	SegmentAgent  = "agent"  // a line by the agent itself
	SegmentEnd    = "end"    // a step ended; no bytes
)

// Segment describes a stretch of the log.
type Segment struct {
	Step     int    `json:"step" doc:"Index of the step; -1 before the first."`
	Kind     string `json:"kind" enum:"begin,stdout,stderr,agent,end"`
	AtMS     int64  `json:"at_ms" doc:"Milliseconds since the task started."`
	Bytes    int    `json:"bytes,omitempty"`
	State    string `json:"state,omitempty" doc:"On end: the step's state."`
	ExitCode *int   `json:"exit_code,omitempty" doc:"On end."`
}

// LogAck says which chunk the server wants next.
type LogAck struct {
	Next int `json:"next"`
}

// LeaseFinish is the result of a lease. It does not wait for the log.
type LeaseFinish struct {
	Epoch    int          `json:"epoch"`
	Outcome  string       `json:"outcome,omitempty" enum:"succeeded,unstable,failed,aborted" doc:"Only where the steps do not say it: a task that could not start, its timeout, an abort. The worst of this and the steps counts."`
	ExitCode *int         `json:"exit_code,omitempty"`
	Reason   string       `json:"reason,omitempty" maxLength:"1000"`
	Steps    []StepReport `json:"steps,omitempty"`
	Log      LogTotal     `json:"log"`
	// Only for servers whose task declares some.
	Outputs map[string]any `json:"outputs,omitempty" doc:"Of the task: 256 KiB of JSON at most, each declared in its spec and of the declared type."`
}

// LogTotal is what the whole log must come to.
type LogTotal struct {
	Chunks int    `json:"chunks"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256" doc:"Of all raw bytes, hexadecimal."`
}

// LeaseRelease hands a lease back: the task becomes ready again and is not counted as failed.
type LeaseRelease struct {
	Epoch  int      `json:"epoch"`
	Reason string   `json:"reason" maxLength:"1000"`
	Log    LogTotal `json:"log"`
}

// LeaseState is the answer to reports about a lease.
type LeaseState struct {
	ID      string `json:"id" format:"uuid"`
	Task    int64  `json:"task"`
	State   string `json:"state" doc:"State of the task."`
	Counted int64  `json:"counted,omitempty" doc:"Of a result: the number of the agent's held request that counts the slot as free from now on; no new request is needed for it."`
}

// LeaseReports says what became of several leases at once, up to 256 of each kind. Starts are taken first, results last.
type LeaseReports struct {
	Starts   []LeaseStarted  `json:"starts,omitempty" maxItems:"256"`
	Logs     []LeaseLogged   `json:"logs,omitempty" maxItems:"256" doc:"Of short logs: a longer one has its own requests. The chunks of one log follow each other in different requests."`
	Finishes []LeaseFinished `json:"finishes,omitempty" maxItems:"256"`
}

// LeaseStarted says that the work of a lease begins.
type LeaseStarted struct {
	Lease string `json:"lease" format:"uuid"`
	LeaseStart
}

// LeaseLogged is a chunk of a lease's log.
type LeaseLogged struct {
	Lease string `json:"lease" format:"uuid"`
	LogChunk
}

// LeaseFinished is the result of a lease.
type LeaseFinished struct {
	Lease string `json:"lease" format:"uuid"`
	LeaseFinish
}

// LeaseReportsAnswer is what became of each report, in their order.
type LeaseReportsAnswer struct {
	Starts   []LeaseResult    `json:"starts"`
	Logs     []LeaseLogResult `json:"logs"`
	Finishes []LeaseResult    `json:"finishes"`
}

// LeaseLogResult says which chunk of a log the server wants next, or why it refused one.
type LeaseLogResult struct {
	ID string `json:"id" format:"uuid"`
	LogAck
	Problem *Error `json:"problem,omitempty" doc:"As the answer to a single chunk would be."`
}

// LeaseResult is the state of a lease's task after a report, or why the report was refused.
type LeaseResult struct {
	LeaseState
	Problem *Error `json:"problem,omitempty" doc:"As the answer to a single report would be."`
}
