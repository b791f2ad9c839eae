// Package isolation starts programs that cannot reach what is not theirs: the agent that starts them, the tasks beside
// them, and the machine below. How far that goes is a level. What a level holds back is found out by trying to escape,
// never by asking for versions.
package isolation

import (
	"fmt"
	"slices"
)

// Level says how far what runs is kept from the rest of the machine. Each level holds back whatever those below it do.
type Level int

// The levels.
const (
	S0 Level = iota // a session of its own, and nothing of it outlives its step
	S1              // and a user of its own, a private /tmp and home, and an end by cgroup
	S2              // and namespaces: it sees no process, file or device of others; and a filter of system calls
	S3              // and a network that leads only through the agent's proxy
	S4              // a container
)

// Auto is for a default level: S1 where that holds, else S0.
const Auto Level = -1

func (l Level) String() string { return fmt.Sprintf("S%d", int(l)) }

// ParseLevel reads S0 to S4.
func ParseLevel(text string) (Level, error) {
	levels := []string{"S0", "S1", "S2", "S3", "S4"}
	if i := slices.Index(levels, text); i >= 0 {
		return Level(i), nil
	}
	return 0, fmt.Errorf("%q is not a level of isolation: write S0, S1, S2, S3 or S4", text)
}

// Limits bound what a task may use of the machine. Zero leaves a thing unbounded.
type Limits struct {
	Memory    int64   `json:"memory,omitempty"`    // bytes, of all its processes together
	Processes int     `json:"processes,omitempty"` // threads count too
	CPU       float64 `json:"cpu,omitempty"`       // cores
	OpenFiles int     `json:"open_files,omitempty"`
	FileBytes int64   `json:"file_bytes,omitempty"` // the largest file that it may write
}

// What a program was ended for, as people read it.
const (
	BrokeMemory    = "oom"
	BrokeProcesses = "pids"
	BrokeDisk      = "disk"
	BrokeOutput    = "output"
)

// Home is where a task's directory is for the task itself from S1 on: the same place on every machine.
const Home = "/run/otto/task"

// relayPlace is where the program that brings S3 its network is for the task.
const relayPlace = "/run/otto/relay"
