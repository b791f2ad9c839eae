package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/moby/client"
	"github.com/spf13/cobra"

	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/orchestrator"
)

// dockerFlags are those of otto orchestrator docker.
type dockerFlags struct {
	orchestratorFlags
	host, image, program, network string
	agentURL                      string
	limits                        orchestrator.DockerLimits
}

func newOrchestratorDocker(a *app) *cobra.Command {
	var f dockerFlags
	cmd := &cobra.Command{
		Use:   "docker --image IMAGE",
		Short: "Start each agent in a container, for one task",
		Long: `Docker starts a container for each task that waits, with an agent in it that takes that one task and ends; the container is removed
then. The image has otto in its PATH; or give --program, the path of a statically linked otto on the engine's host, and any
image with what your steps need will do.

Containers run no privileged process, see no directory of the host, and reach what their network reaches: the server must be
there. At the first SIGTERM or Ctrl-C the orchestrator starts no more and lets its agents end their tasks; at the second they hand them
back. When it is killed, its containers go on with their tasks, and its next life finds them.` +
			exitStatus("0  it has stopped", "1  it could not start, or failed", "77 the server refuses its credential"),
		Example: examples("otto orchestrator docker --url https://otto.example --image ghcr.io/example/otto-ci:1 --limit 8 --cpus 2 --memory 4294967296",
			"otto orchestrator docker --image debian:12 --program /usr/local/bin/otto --label pool=ci"),
		Args: nothing,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.image == "" {
				return usage(cmd, "--image is missing")
			}
			p, err := a.orchestratorOf(cmd, f.orchestratorFlags, "docker")
			if err != nil {
				return err
			}
			return a.runDockerOrchestrator(cmd.Context(), f, p)
		},
	}
	flags := cmd.Flags()
	f.add(flags, "docker")
	flags.StringVar(&f.host, "docker-host", "", "the `socket` of the container engine (DOCKER_HOST); "+engine.DefaultHost+" if absent")
	flags.StringVar(&f.image, "image", "", "what the containers are made of; it must be there: nothing is pulled")
	flags.StringVar(&f.program, "program", "", "`path` of otto on the engine's host, which containers see; the image's if absent")
	flags.StringVar(&f.agentURL, "agent-url", "", "the server as containers see it; --url if absent")
	flags.StringVar(&f.network, "network", "", "the `network` of the containers; the engine's default if absent")
	flags.Int64Var(&f.limits.Memory, "memory", 0, "`bytes` of memory of a container; no limit if absent")
	flags.Float64Var(&f.limits.CPUs, "cpus", 0, "how many `cores` a container may take; no limit if absent")
	flags.Int64Var(&f.limits.Pids, "pids", engine.DefaultPids, "how many processes and threads a container may have")
	return serves(cmd, "info")
}

func (a *app) runDockerOrchestrator(ctx context.Context, f dockerFlags, p orchestratorParts) error {
	host := first(f.host, a.env.dockerHost, engine.DefaultHost)
	api, err := client.New(client.WithHTTPClient(&http.Client{Transport: &http.Transport{}}), client.WithHost(host), client.WithScheme("http"), client.WithUserAgent("otto-orchestrator"))
	if err != nil {
		return fmt.Errorf("use the container engine %s: %w", host, err)
	}
	defer api.Close()
	info, err := api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return withHint(fmt.Errorf("ask the container engine %s: %w", host, err), "is it running? --docker-host names its socket")
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	owner, err := ownerOf(p.dir)
	if err != nil {
		return err
	}
	args := []string{"--docker-host", "none", "--drain-timeout", f.drain.String(), "--log-level", a.flags.logLevel}
	for _, label := range f.labels {
		args = append(args, "--label", label)
	}
	offers := map[string]any{"os": "linux", "arch": goArch(info.Info.Architecture), "cores": info.Info.NCPU}
	if f.limits.CPUs >= 1 {
		offers["cores"] = min(int(f.limits.CPUs), info.Info.NCPU)
	}
	for name, value := range p.labels {
		offers[name] = value
	}
	return a.runOrchestrator(ctx, f.orchestratorFlags, p, offers, &orchestrator.Docker{
		API: api, Owner: owner, URL: first(f.agentURL, p.url), Image: f.image, Program: f.program, Network: f.network, Args: args, Limits: f.limits, Log: a.log,
	})
}

// ownerOf names the orchestrator of a directory among all that share an engine.
func ownerOf(dir string) (string, error) {
	path := filepath.Join(dir, "id")
	if body, err := os.ReadFile(path); err == nil && len(body) > 0 {
		return strings.TrimSpace(string(body)), nil
	}
	name := strings.ToLower(rand.Text())
	return name, os.WriteFile(path, []byte(name+"\n"), 0o600)
}

// goArch is an architecture in Go's words, which agents use.
func goArch(machine string) string {
	switch machine {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	}
	return machine
}
