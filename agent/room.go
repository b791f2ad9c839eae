package agent

import (
	"context"
	"fmt"
)

// room is where the steps of one task run. It is opened once the workspace is prepared, and closed before anything that the
// steps have left there is taken: then nothing of them runs any more.
type room interface {
	// environ is what a step finds there, before anything that the agent or the task says.
	environ() map[string]string
	// command is what runs a script there, with this environment.
	command(asked, env []string) ([]string, error)
	// launch starts a step. Whoever starts it waits for its end; ctx ends only the waiting of the sink.
	launch(ctx context.Context, job job, to sink) (*process, error)
	// close ends whatever of the task still is in the room, and gives back what the room took from the machine.
	close(ctx context.Context) error
}

// admits says why the task must not even start here: on the host it would be another task than the one that was asked for.
func (t *task) admits(ctx context.Context) error {
	spec := t.lease.Spec
	if spec.Image == "" {
		return nil
	}
	if err := t.agent.containers.ready(ctx); err != nil {
		if spec.Fallback == fallbackHost {
			return nil
		}
		return fmt.Errorf("this agent cannot run containers (%w), and the task is to run in %s", err, spec.Image)
	}
	if spec.Container == nil {
		return nil
	}
	return t.agent.containers.engine.Refuses(*spec.Container)
}

// openRoom gives the room that the task asks for.
func (t *task) openRoom(ctx context.Context) (room, error) {
	spec := t.lease.Spec
	if spec.Image == "" {
		return t.onHost(), nil
	}
	if err := t.agent.containers.ready(ctx); err != nil && spec.Fallback == fallbackHost {
		t.journal.say(-1, "this agent runs no containers (%v): the task runs on the host, as its fallback allows, instead of in %s", err, spec.Image)
		return t.onHost(), nil
	}
	return t.openContainer(ctx)
}

// contained says whether the task runs in a container.
func (t *task) contained(ctx context.Context) bool {
	return t.lease.Spec.Image != "" && t.agent.containers.ready(ctx) == nil
}

// onHost is the task's cell, or the machine itself.
func (t *task) onHost() room {
	if t.cell != nil {
		return cellRoom{agent: t.agent, cell: t.cell, dir: t.path("")}
	}
	return hostRoom{agent: t.agent}
}

const fallbackHost = "host"

// leave closes the task's room, however the work ended.
func (t *task) leave(ctx context.Context) {
	if err := t.room.close(context.WithoutCancel(ctx)); err != nil {
		t.journal.say(-1, "%v", err)
		t.log.WarnContext(ctx, "room not closed", "error", err)
	}
}

// hostRoom is the machine itself. A step's keeper leaves nothing of the step, so there is nothing to close.
type hostRoom struct{ agent *Agent }

func (r hostRoom) environ() map[string]string { return r.agent.cfg.hostEnv() }

func (hostRoom) command(asked, env []string) ([]string, error) { return command(asked, env) }

func (r hostRoom) launch(ctx context.Context, job job, to sink) (*process, error) {
	return r.agent.launch(ctx, job, to)
}

func (hostRoom) close(context.Context) error { return nil }
