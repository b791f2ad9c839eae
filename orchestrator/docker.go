package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	moby "github.com/moby/moby/client"
)

// Docker starts each agent in a container of its own, for one task. A container ends with its agent, and is removed then; those that
// outlive the orchestrator are found again by its label.
type Docker struct {
	API     *moby.Client
	Owner   string // names the orchestrator among those that share the engine, in all its lives
	URL     string // of the server, as containers see it
	Image   string // has otto in its PATH, unless Program is given
	Program string // the otto binary of the engine's host, to be seen by containers; linked statically. None: the image has one
	Network string // of the containers; the engine's default if empty
	Args    []string
	Env     []string
	Limits  DockerLimits
	Log     *slog.Logger
}

// DockerLimits bound a container; zero values do not.
type DockerLimits struct {
	Memory int64 // bytes
	CPUs   float64
	Pids   int64
}

// Labels of what the orchestrator makes.
const (
	LabelOrchestrator = "otto.orchestrator"
	labelAward        = "otto.award"
)

// watchPause is how long an engine that does not answer is left alone.
const watchPause = time.Second

// programPlace is where containers see Program.
const programPlace = "/usr/local/bin/otto"

// dockerAgent is one of its containers.
type dockerAgent struct {
	docker          *Docker
	id, name, award string
	done            chan struct{}
	killing         sync.Once
}

// Start makes and starts a container. What was made is removed again if it does not start.
func (d *Docker) Start(ctx context.Context, o Order) (Instance, error) {
	program := "otto"
	host := d.hostConfig()
	if d.Program != "" {
		program = programPlace
		host.Mounts = []mount.Mount{{Type: mount.TypeBind, Source: d.Program, Target: programPlace, ReadOnly: true}}
	}
	made, err := d.API.ContainerCreate(ctx, moby.ContainerCreateOptions{
		Name: o.Name, HostConfig: host,
		Config: &container.Config{
			Image: d.Image, Entrypoint: []string{program},
			Cmd: append([]string{"agent", "--once", "--url", d.URL, "--name", o.Name, "--dir", "/tmp/otto"}, d.Args...),
			// The token works once, and only until its agent must have come.
			Env:    append(append([]string{}, d.Env...), "OTTO_ENROL_TOKEN="+o.Token),
			Labels: map[string]string{LabelOrchestrator: d.Owner, labelAward: o.Award},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make a container of %s: %w", d.Image, err)
	}
	if _, err := d.API.ContainerStart(ctx, made.ID, moby.ContainerStartOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("start a container of %s: %w", d.Image, err), d.remove(context.WithoutCancel(ctx), made.ID))
	}
	return d.watch(made.ID, o.Name, o.Award), nil
}

// capabilities are what a container's root may do: what installing software takes, and nothing with the network's or the machine's insides.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT"}

func (d *Docker) hostConfig() *container.HostConfig {
	host := &container.HostConfig{
		AutoRemove: true, NetworkMode: container.NetworkMode(d.Network),
		CapDrop: []string{"ALL"}, CapAdd: capabilities, SecurityOpt: []string{"no-new-privileges"},
		Resources: container.Resources{Memory: d.Limits.Memory, MemorySwap: d.Limits.Memory, NanoCPUs: int64(d.Limits.CPUs * 1e9)},
	}
	if d.Limits.Pids > 0 {
		host.PidsLimit = &d.Limits.Pids
	}
	return host
}

// watch follows a container until it is gone.
func (d *Docker) watch(id, name, award string) *dockerAgent {
	a := &dockerAgent{docker: d, id: id, name: name, award: award, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for {
			wait := d.API.ContainerWait(context.Background(), id, moby.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
			select {
			case <-wait.Result:
				return
			case err := <-wait.Error:
				if cerrdefs.IsNotFound(err) {
					return
				}
				d.Log.Warn("container cannot be watched, trying on", "name", name, "error", err)
				time.Sleep(watchPause)
			}
		}
	}()
	return a
}

func (a *dockerAgent) Name() string          { return a.name }
func (a *dockerAgent) Award() string         { return a.award }
func (a *dockerAgent) Done() <-chan struct{} { return a.done }

// Drain asks the agent to end.
func (a *dockerAgent) Drain() { a.signal("SIGTERM") }

// Kill makes the agent hand its work back, and then ends the container.
func (a *dockerAgent) Kill() {
	a.killing.Do(func() {
		a.Drain()
		a.Drain()
		go func() {
			select {
			case <-a.done:
			case <-time.After(killAfter):
				a.signal("SIGKILL")
			}
		}()
	})
}

func (a *dockerAgent) signal(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_, err := a.docker.API.ContainerKill(ctx, a.id, moby.ContainerKillOptions{Signal: name})
	if err != nil && !cerrdefs.IsNotFound(err) && !cerrdefs.IsConflict(err) { // those are: it has ended
		a.docker.Log.WarnContext(ctx, "container was not signalled", "name", a.name, "signal", name, "error", err)
	}
}

// Recover goes on with the containers of an earlier life that run, and removes what is left of others.
func (d *Docker) Recover(ctx context.Context) ([]Instance, error) {
	list, err := d.API.ContainerList(ctx, moby.ContainerListOptions{All: true, Filters: moby.Filters{}.Add("label", LabelOrchestrator+"="+d.Owner)})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var found []Instance
	for _, c := range list.Items {
		if c.State != container.StateRunning {
			if err := d.remove(ctx, c.ID); err != nil {
				return nil, err
			}
			continue
		}
		name := c.ID
		if len(c.Names) > 0 {
			name = c.Names[0][1:] // they begin with a slash
		}
		found = append(found, d.watch(c.ID, name, c.Labels[labelAward]))
	}
	return found, nil
}

func (d *Docker) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	_, err := d.API.ContainerRemove(ctx, id, moby.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) { // it is gone, or about to be
		return nil
	}
	return err
}
