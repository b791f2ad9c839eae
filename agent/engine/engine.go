// Package engine runs the steps of tasks in containers, by a container engine that speaks Docker's API: Docker, or Podman.
//
// A task has one container, whose first process waits for the end of its standard input: it ends with the agent that holds
// the other end, however that ends, and the kernel then kills all that runs in the container. Everything that is made
// bears labels by which it can be found and removed when something else went wrong.
package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/client"

	ours "github.com/ottoci/otto/client"
)

// DefaultHost is where Docker listens.
const DefaultHost = "unix:///var/run/docker.sock"

// DefaultPids bounds the processes and threads of a container whose agent says nothing else.
const DefaultPids = 4096

// Labels of what an agent makes.
const (
	LabelAgent = "otto.agent" // of the agent's work directory
	labelLife  = "otto.life"  // of this life of the agent
	LabelLease = "otto.lease"
)

// What a project needs a grant for, and an agent must allow.
const (
	Privileged   = "privileged"
	DockerSocket = "docker_socket"
	HostNetwork  = "host_network"
	HostMounts   = "host_mounts"
)

// Powers are all of them.
func Powers() []string { return []string{Privileged, DockerSocket, HostNetwork, HostMounts} }

// Config says which engine, for whom, and what is allowed.
type Config struct {
	Host       string      // unix://PATH; DefaultHost if empty
	Agent      string      // whose containers these are: the same in all lives of an agent, and no other's
	Registries string      // a config.json of Docker with credentials of registries; none if empty
	Allow      []string    // powers that tasks may have
	Limits     ours.Limits // of a container, unless its task asks for less
}

// Engine is an engine, seen by one agent.
type Engine struct {
	cfg    Config
	api    *client.Client
	socket string // path
	life   string
}

// pingLimit is how long an engine may take to answer that is on this very machine.
const pingLimit = 3 * time.Second

// Open checks the settings. It does not ask the engine.
func Open(cfg Config) (*Engine, error) {
	if cfg.Host == "" {
		cfg.Host = DefaultHost
	}
	socket, ok := strings.CutPrefix(cfg.Host, "unix://")
	if !ok || !strings.HasPrefix(socket, "/") {
		return nil, fmt.Errorf("the container engine %q is not one of this host, with which the workspace can be shared: name its socket, as in %s", cfg.Host, DefaultHost)
	}
	for _, power := range cfg.Allow {
		if !slices.Contains(Powers(), power) {
			return nil, fmt.Errorf("%q cannot be allowed to containers; write %s", power, strings.Join(Powers(), ", "))
		}
	}
	api, err := client.New(client.WithHTTPClient(&http.Client{Transport: &http.Transport{}}), client.WithHost(cfg.Host), client.WithScheme("http"), client.WithUserAgent("otto-agent"))
	if err != nil {
		return nil, fmt.Errorf("use the container engine %s: %w", cfg.Host, err)
	}
	return &Engine{cfg: cfg, api: api, socket: socket, life: rand.Text()}, nil
}

// Close lets go of the connections.
func (e *Engine) Close() error { return e.api.Close() }

// Ping says whether the engine answers.
func (e *Engine) Ping(ctx context.Context) error {
	if _, err := os.Stat(e.socket); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	_, err := e.api.Ping(ctx, client.PingOptions{})
	return err
}

// Refuses says why this agent does not give a task the container that it asks for; nil if it does.
func (e *Engine) Refuses(spec ours.ContainerSpec) error {
	for _, power := range Needed(spec) {
		if !slices.Contains(e.cfg.Allow, power) {
			return fmt.Errorf("this agent does not allow containers to have %s", power)
		}
	}
	return nil
}

// Needed lists the powers that a container has beyond those of any.
func Needed(spec ours.ContainerSpec) (powers []string) {
	for power, needed := range map[string]bool{
		Privileged: spec.Privileged, DockerSocket: spec.DockerSocket, HostNetwork: spec.HostNetwork, HostMounts: len(spec.Mounts) > 0,
	} {
		if needed {
			powers = append(powers, power)
		}
	}
	slices.Sort(powers)
	return powers
}

// labels mark what belongs to a lease.
func (e *Engine) labels(lease string) map[string]string {
	return map[string]string{LabelAgent: e.cfg.Agent, labelLife: e.life, LabelLease: lease}
}

// errNoShell is said of images without a shell.
var errNoShell = errors.New("it has no /bin/sh, which steps need")
