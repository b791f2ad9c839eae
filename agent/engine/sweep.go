package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// Sweep removes what earlier lives of the agent have left, and says what that was.
func (e *Engine) Sweep(ctx context.Context) (removed []string, err error) {
	return e.sweep(ctx, LabelAgent, e.cfg.Agent, func(life string) bool { return life != e.life })
}

// sweep removes containers, then networks and volumes, that bear a label and are of a life that is over.
func (e *Engine) sweep(ctx context.Context, label, value string, over func(life string) bool) (removed []string, err error) {
	filters := client.Filters{}.Add("label", label+"="+value)
	containers, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, c := range containers.Items {
		if over(c.Labels[labelLife]) {
			err = errors.Join(err, e.remove(ctx, c.ID))
			removed = append(removed, "the container of lease "+c.Labels[LabelLease])
		}
	}
	networks, listed := e.api.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	if listed != nil {
		return removed, errors.Join(err, fmt.Errorf("list networks: %w", listed))
	}
	for _, n := range networks.Items {
		if !over(n.Labels[labelLife]) {
			continue
		}
		if _, gone := e.api.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{}); gone != nil && !cerrdefs.IsNotFound(gone) {
			err = errors.Join(err, fmt.Errorf("remove network %s: %w", n.Name, gone))
			continue
		}
		removed = append(removed, "the network of lease "+n.Labels[LabelLease])
	}
	return removed, err
}

// WardenArgs are the arguments of a process that runs Warden for this life of the agent.
func (e *Engine) WardenArgs() []string { return []string{e.cfg.Host, e.cfg.Agent, e.life} }

const (
	wardenTries = 10
	wardenPause = 500 * time.Millisecond
	wardenLimit = 2 * time.Minute
)

// Warden waits for the end of standard input, which comes with the end of the agent, and then removes what that life of the
// agent has left: a service would run on, since it does not know the agent. It gives the exit status.
func Warden(args []string) int {
	if len(args) != 3 {
		return 64
	}
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	e, err := Open(Config{Host: args[0], Agent: args[1]})
	if err != nil {
		return 1
	}
	defer e.Close()
	ctx, cancel := context.WithTimeout(context.Background(), wardenLimit)
	defer cancel()
	// What the agent had just asked for may come into being after its end: it looks until nothing is found, twice.
	for quiet, tries := 0, 0; quiet < 2 && tries < wardenTries; tries++ {
		removed, err := e.sweep(ctx, labelLife, args[2], func(string) bool { return true })
		if quiet++; len(removed) > 0 || err != nil {
			quiet = 0
		}
		select {
		case <-time.After(wardenPause):
		case <-ctx.Done():
			return 1
		}
	}
	return 0
}
