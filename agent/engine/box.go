package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	ours "github.com/ottoci/otto/client"
)

// Say tells people, in the task's log, what happens.
type Say func(format string, args ...any)

// Task is what a container is made for.
type Task struct {
	Lease    string
	Image    string
	Spec     ours.ContainerSpec
	Services []ours.ServiceSpec
	Limits   ours.Limits
	Closed   bool     // nothing but the services can be reached from it
	Dir      string   // of the host; the container sees it at the same place
	Give     []string // what is there for the user whom Spec names
	Say      Say
}

// Box is the container of a task, with its services and its network.
type Box struct {
	engine  *Engine
	task    Task
	name    string // of what is made, for people who look at the engine
	id      string
	network string    // id
	user    string    // of the steps
	input   io.Closer // of the container's first process, which ends with it
	started bool
	others  []string // services
}

// Limits on what goes on beside the steps; only an engine in trouble takes as long.
const (
	removeLimit = time.Minute
	chownLimit  = 5 * time.Minute
)

// first is the first process of a task's container. It waits until nobody holds its input any more, and while a shell waits for
// a program it also reaps what has lost its parent. The program can be killed by a step, the shell cannot. (The shell's own read
// will not do: the end of an orphan interrupts it, which looks like the end of the input.)
var first = []string{"/bin/sh", "-c", "until cat >/dev/null; do [ $? = 127 ] && exit 127; done"}

// capabilities are what a container's root may do: what installing software takes, and nothing with the network's or the
// machine's insides.
var capabilities = []string{"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETUID", "SYS_CHROOT"}

// Enter makes the container of a task, with all it needs. What was made is removed again if it cannot.
func (e *Engine) Enter(ctx context.Context, task Task) (_ *Box, err error) {
	b := &Box{engine: e, task: task, name: "otto-" + task.Lease + "-" + strings.ToLower(e.life[:6]), user: task.Spec.User}
	if b.user == "" {
		b.user = fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := b.images(ctx); err != nil {
		return nil, err
	}
	if err := b.connect(ctx); err != nil {
		return nil, err
	}
	if err := b.serve(ctx); err != nil {
		return nil, err
	}
	if err := b.start(ctx); err != nil {
		return nil, fmt.Errorf("start a container of %s: %w", task.Image, explain(err))
	}
	if len(task.Give) > 0 {
		user, _, _ := strings.Cut(task.Spec.User, ":")
		if err := b.chown(ctx, fmt.Sprintf("%s:%d", user, os.Getegid()), task.Give); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Box) images(ctx context.Context) error {
	if err := b.engine.ensure(ctx, b.task.Image, b.task.Spec.Pull, b.task.Say); err != nil {
		return err
	}
	for _, s := range b.task.Services {
		if err := b.engine.ensure(ctx, s.Image, s.Pull, b.task.Say); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
	}
	return nil
}

// connect makes the task's network: on one that tasks share they would reach each other.
func (b *Box) connect(ctx context.Context) error {
	asked := client.NetworkCreateOptions{Driver: "bridge", Labels: b.engine.labels(b.task.Lease)}
	switch {
	case b.task.Spec.HostNetwork && b.task.Closed:
		return errors.New("a task that asks for isolation S3 or more cannot have the network of the host")
	case b.task.Spec.HostNetwork:
		return nil
	case b.task.Closed:
		// An internal network leads nowhere; without an address of its own not even to the engine's machine.
		asked.Internal, asked.Options = true, map[string]string{"com.docker.network.bridge.inhibit_ipv4": "true"}
	}
	made, err := b.engine.api.NetworkCreate(ctx, b.name, asked)
	if err != nil {
		return fmt.Errorf("make the task's network: %w", err)
	}
	b.network = made.ID
	return nil
}

// start makes the container, of root, whose powers the engine else takes from all that is started in it later, and holds its input before its first process can look at it.
func (b *Box) start(ctx context.Context) error {
	made, err := b.engine.api.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: b.name, HostConfig: b.hostConfig(),
		Config: &container.Config{
			Image: b.task.Image, Entrypoint: first[:1], Cmd: first[1:], User: "0", WorkingDir: "/",
			OpenStdin: true, StdinOnce: true, AttachStdin: true, Labels: b.engine.labels(b.task.Lease),
			Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		},
	})
	if err != nil {
		return err
	}
	b.id = made.ID
	held, err := b.engine.api.ContainerAttach(ctx, b.id, client.ContainerAttachOptions{Stream: true, Stdin: true})
	if err != nil {
		return err
	}
	b.input = held.Conn
	_, err = b.engine.api.ContainerStart(ctx, b.id, client.ContainerStartOptions{})
	b.started = err == nil
	return err
}

// explain makes out of what an engine says of a missing shell what people can act on.
func explain(err error) error {
	if cerrdefs.IsInvalidArgument(err) || cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %w", errNoShell, err)
	}
	return err
}

func (b *Box) hostConfig() *container.HostConfig {
	spec, limits := b.task.Spec, b.task.Limits.Within(b.engine.cfg.Limits)
	host := &container.HostConfig{
		AutoRemove: true, LogConfig: container.LogConfig{Type: "none"},
		Privileged: spec.Privileged,
		Mounts:     []mount.Mount{{Type: mount.TypeBind, Source: b.task.Dir, Target: b.task.Dir}},
		Resources:  resources(limits),
	}
	if !spec.Privileged {
		host.CapDrop, host.CapAdd = []string{"ALL"}, capabilities
		host.SecurityOpt = []string{"no-new-privileges"}
	}
	host.NetworkMode = container.NetworkMode(b.network)
	if spec.HostNetwork {
		host.NetworkMode = network.NetworkHost
	}
	if spec.DockerSocket {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: b.engine.socket, Target: "/var/run/docker.sock"})
		if info, err := os.Stat(b.engine.socket); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				host.GroupAdd = []string{strconv.FormatUint(uint64(stat.Gid), 10)}
			}
		}
	}
	for _, m := range spec.Mounts {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: filepath.Clean(m.Host), Target: m.At, ReadOnly: m.ReadOnly})
	}
	return host
}

// resources puts limits in the engine's words. There is no swap beside the memory.
func resources(limits ours.Limits) container.Resources {
	r := container.Resources{Memory: limits.Memory, MemorySwap: limits.Memory, NanoCPUs: int64(limits.CPU * 1e9)}
	if limits.Processes > 0 {
		r.PidsLimit = &limits.Processes
	}
	if limits.OpenFiles > 0 {
		r.Ulimits = []*container.Ulimit{{Name: "nofile", Soft: limits.OpenFiles, Hard: limits.OpenFiles}}
	}
	return r
}

// chown gives files to a user of the image, or back; the agent's group can always use them. Only root may do it, which the
// agent need not be.
func (b *Box) chown(ctx context.Context, user string, paths []string) error {
	ctx, cancel := context.WithTimeout(ctx, chownLimit)
	defer cancel()
	argv := append([]string{"/bin/sh", "-c", `user=$1; shift; chown -hR "$user" "$@" && chmod -R g+rwX "$@"`, "otto", user}, paths...)
	words, code, err := b.capture(ctx, "0", argv...)
	if err == nil && code != 0 {
		err = fmt.Errorf("chown ended with %d: %s", code, words)
	}
	if err != nil {
		return fmt.Errorf("give the workspace to user %s: %w", user, err)
	}
	return nil
}

// Close ends all that runs in the container and its services, and removes them and the network.
func (b *Box) Close(ctx context.Context) (err error) {
	if b.started && len(b.task.Give) > 0 && os.Geteuid() != 0 {
		err = b.chown(ctx, fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid()), b.task.Give)
	}
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	if b.input != nil {
		_ = b.input.Close()
	}
	for _, id := range slices.Backward(append(slices.Clone(b.others), b.id)) {
		if id != "" {
			err = errors.Join(err, b.engine.remove(ctx, id))
		}
	}
	if b.network != "" {
		if _, gone := b.engine.api.NetworkRemove(ctx, b.network, client.NetworkRemoveOptions{}); gone != nil && !cerrdefs.IsNotFound(gone) {
			err = errors.Join(err, fmt.Errorf("remove the task's network: %w", gone))
		}
	}
	return err
}

// remove removes a container with its volumes, whatever it does, and returns when it is gone: it may be on its way already.
func (e *Engine) remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the waiting too
	wait := e.api.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionRemoved})
	_, err := e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	switch {
	case cerrdefs.IsNotFound(err):
		return nil
	case err != nil && !cerrdefs.IsConflict(err): // a conflict: somebody else removes it
		return fmt.Errorf("remove a container: %w", err)
	}
	select {
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("remove a container: %w", err)
	}
}

// environment writes variables as programs get them, sorted.
func environment(env map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
