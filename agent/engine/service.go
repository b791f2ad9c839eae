package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	ours "github.com/ottoci/otto/client"
)

const (
	// healthLook is how often the engine is asked whether a service is ready.
	healthLook = 100 * time.Millisecond
	// Of a health check that does not say it: half a minute in all.
	healthInterval = time.Second
	healthTimeout  = 10 * time.Second
	healthRetries  = 30
	// lastWords is how many lines of a service that fails are shown.
	lastWords = 50
)

// serve starts the services together and waits until all of them are ready.
func (b *Box) serve(ctx context.Context) error {
	for _, s := range b.task.Services {
		if err := b.startService(ctx, s); err != nil {
			return fmt.Errorf("start service %s: %w", s.Name, err)
		}
	}
	for i, s := range b.task.Services {
		began := time.Now()
		if err := b.ready(ctx, b.others[i]); err != nil {
			b.tell(context.WithoutCancel(ctx), s.Name, b.others[i])
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
		b.task.Say("service %s is ready after %s", s.Name, time.Since(began).Round(100*time.Millisecond))
	}
	return nil
}

func (b *Box) startService(ctx context.Context, s ours.ServiceSpec) error {
	made, err := b.engine.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: b.name + "-" + s.Name,
		Config: &container.Config{
			Image: s.Image, Env: environment(s.Env), Cmd: s.Command, Healthcheck: healthcheck(s.Health), Labels: b.engine.labels(b.task.Lease),
		},
		HostConfig: &container.HostConfig{
			NetworkMode: container.NetworkMode(b.network), LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m"}},
			CapDrop: []string{"ALL"}, CapAdd: capabilities, SecurityOpt: []string{"no-new-privileges"}, Resources: resources(b.engine.cfg.Limits),
		},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{b.network: {Aliases: []string{s.Name}}}},
	})
	if err != nil {
		return err
	}
	b.others = append(b.others, made.ID)
	_, err = b.engine.api.ContainerStart(ctx, made.ID, client.ContainerStartOptions{})
	return err
}

// healthcheck puts a health check in the engine's words; nil, the image's own, if there is none.
func healthcheck(h *ours.HealthSpec) *container.HealthConfig {
	if h == nil {
		return nil
	}
	out := &container.HealthConfig{
		Test: append([]string{"CMD"}, h.Command...), Interval: healthInterval, Timeout: healthTimeout, Retries: healthRetries,
	}
	if h.IntervalMS > 0 {
		out.Interval = time.Duration(h.IntervalMS) * time.Millisecond
	}
	if h.TimeoutMS > 0 {
		out.Timeout = time.Duration(h.TimeoutMS) * time.Millisecond
	}
	if h.Retries > 0 {
		out.Retries = h.Retries
	}
	return out
}

// ready waits until a service is ready: healthy, if there is a check, else running.
func (b *Box) ready(ctx context.Context, id string) error {
	tick := time.NewTicker(healthLook)
	defer tick.Stop()
	for {
		answer, err := b.engine.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if err != nil {
			return err
		}
		done, err := isReady(answer.Container.State)
		if done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func isReady(state *container.State) (bool, error) {
	switch {
	case state == nil:
		return false, errors.New("the engine does not tell its state")
	case state.OOMKilled:
		return false, errors.New("it was killed because memory ran out")
	case !state.Running:
		return false, fmt.Errorf("it has ended with exit code %d %s", state.ExitCode, state.Error)
	case state.Health == nil || state.Health.Status == container.NoHealthcheck || state.Health.Status == container.Healthy:
		return true, nil
	case state.Health.Status == container.Unhealthy:
		last := ""
		if n := len(state.Health.Log); n > 0 {
			last = ": " + strings.TrimSpace(state.Health.Log[n-1].Output)
		}
		return false, fmt.Errorf("it is unhealthy after %d checks%s", state.Health.FailingStreak, last)
	}
	return false, nil
}

// tell puts the last words of a service into the task's log.
func (b *Box) tell(ctx context.Context, name, id string) {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	said, err := b.engine.api.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(lastWords)})
	if err != nil {
		b.task.Say("the log of service %s cannot be read: %v", name, err)
		return
	}
	defer said.Close()
	var out bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &out, said)
	if err != nil {
		b.task.Say("the log of service %s cannot be read: %v", name, err)
	}
	for line := range strings.Lines(strings.ToValidUTF8(out.String(), "\uFFFD")) {
		b.task.Say("%s: %s", name, strings.TrimRight(line, "\r\n"))
	}
}
