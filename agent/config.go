package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/isolation"
)

// Config is everything an agent is told. Zero values work, but for URL, WorkDir and one of the tokens.
type Config struct {
	URL     string      // the server's address
	TLS     *tls.Config // how to trust the server; the system's way if nil
	Version string      // of the program

	Token      string // the agent's credential; if empty, the one in StateFile
	EnrolToken string // used once, when there is no credential yet
	StateFile  string // where the credential is kept, mode 0600; needed with EnrolToken

	Name     string         // shown to people; the host's name if empty
	Capacity int            // tasks at the same time; 1 if 0
	Once     bool           // take one task, then leave
	Labels   map[string]any // capabilities besides the detected ones, and instead of them where the names are equal

	Tools []Tool // to look for in the PATH, once the agent has begun; none: what is offered of tools are labels

	WorkDir       string   // workspaces, spools and the source cache; made if missing, used by one agent at a time
	KeepWorkspace bool     // leave workspaces on disk, for debugging
	Environ       []string // the host's environment, as os.Environ gives it
	PassEnv       []string // names in Environ that steps get besides PATH, HOME and the proxies'

	Isolation   isolation.Level // of tasks that ask for less; the agent does not start if it does not hold here
	Note        func(string)    `json:"-"` // takes what whoever started the agent should see; the log does if nil
	EgressAllow []string        // host or host:port: what tasks of S3 may reach besides the public internet
	TaskUsers   int             // the first of the users that tasks get from S1 on; isolation.FirstUser if 0

	LogBytes      int64 // of a task's output that are kept; the log is cut there, with a mark; 4 GiB if 0
	SpoolBytes    int64 // of a task's log that wait on disk before its step has to wait; 4 GiB if 0
	CacheBytes    int64 // of source bundles kept for later tasks; 2 GiB if 0
	MirrorBytes   int64 // of repositories kept for later tasks; 10 GiB if 0
	SourceBytes   int64 // of an unpacked source; 8 GiB if 0
	SourceEntries int   // files, directories and links of a source; 1,000,000 if 0

	// Engine is the container engine; its Agent is filled in. With NoEngine as host the agent runs no containers.
	Engine engine.Config
	Git    Git // how the agent comes by repositories

	DrainTimeout    time.Duration // for running tasks to end once the agent drains; 10 min if 0
	ReconnectWindow time.Duration // spreads the first requests after an outage over a fleet; 5 s if 0

	Log *slog.Logger // slog.Default() if nil

	// Keeper is the argv whose main function is Keeper; this program with KeeperCommand if empty.
	Keeper []string
	// Relay is the argv of a program that answers isolation.RelayCommand and isolation.EscapeCommand; this program if empty.
	Relay []string
	// Shared says that the process is not the agent's own: the agent then changes no attribute of the process, and
	// does not adopt what a step orphans by killing its keeper. It offers no isolation unless Isolation asks for some.
	Shared bool
}

// Git is how an agent comes by repositories. What is not set is not possible.
type Git struct {
	Schemes     []string // that addresses may have; https and ssh if empty
	CAFile      string   // certificates to trust instead of the system's, PEM
	Credentials string   // file of https://user:password@host lines, mode 0600
	SSHKey      string   // file of the private key for ssh, mode 0600
	KnownHosts  string   // file of the hosts that ssh may talk to
}

// KeeperCommand is the first argument of the processes that the agent starts to keep its steps. The program answers it
// with os.Exit(agent.Keeper(os.Args[2:])), before anything else.
const KeeperCommand = "agent-keeper"

// complete checks the settings and fills in what is left out.
func (c *Config) complete() error {
	switch {
	case c.WorkDir == "":
		return errors.New("agent: no work directory")
	case c.Token == "" && c.StateFile == "":
		return errors.New("agent: neither a token nor a state file")
	case c.Capacity < 0 || c.Capacity > 1024:
		return fmt.Errorf("agent: capacity %d is not within 1 and 1024", c.Capacity)
	}
	dir, err := filepath.Abs(c.WorkDir)
	if err != nil {
		return fmt.Errorf("agent: work directory %s: %w", c.WorkDir, err)
	}
	c.WorkDir = dir
	if c.Name == "" {
		if c.Name, err = os.Hostname(); err != nil {
			return fmt.Errorf("agent: no name, and the host has none: %w", err)
		}
	}
	c.Capacity = max(c.Capacity, 1)
	if c.Once {
		c.Capacity = 1
	}
	if len(c.Keeper) == 0 {
		// Not the program's path: that may be another version by the time a step starts.
		c.Keeper = []string{"/proc/self/exe", KeeperCommand}
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	c.completeLimits()
	return nil
}

func (c *Config) completeLimits() {
	setDefault(&c.LogBytes, 4<<30)
	setDefault(&c.SpoolBytes, 4<<30)
	setDefault(&c.CacheBytes, 2<<30)
	setDefault(&c.SourceBytes, 8<<30)
	setDefault(&c.SourceEntries, 1_000_000)
	setDefault(&c.DrainTimeout, 10*time.Minute)
	setDefault(&c.ReconnectWindow, 5*time.Second)
}

func setDefault[T ~int | ~int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}
