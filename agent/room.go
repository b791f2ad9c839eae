package agent

import "context"

// room is where the steps of one task run. It is opened once the workspace is prepared, and closed before anything that the
// steps have left there is taken: then nothing of them runs any more.
type room interface {
	// launch starts a step. Whoever starts it waits for its end; ctx ends only the waiting of the sink.
	launch(ctx context.Context, job job, to sink) (*process, error)
	// close ends whatever of the task still is in the room, and gives back what the room took from the machine.
	close(ctx context.Context) error
}

// openRoom gives the room that the task asks for.
func (t *task) openRoom(context.Context) (room, error) {
	return hostRoom{agent: t.agent}, nil
}

// leave closes the task's room, however the work ended.
func (t *task) leave(ctx context.Context) {
	if err := t.room.close(context.WithoutCancel(ctx)); err != nil {
		t.journal.say(-1, "%v", err)
		t.log.WarnContext(ctx, "room not closed", "error", err)
	}
}

// hostRoom is the machine itself. A step's keeper leaves nothing of the step, so there is nothing to close.
type hostRoom struct{ agent *Agent }

func (r hostRoom) launch(ctx context.Context, job job, to sink) (*process, error) {
	return r.agent.launch(ctx, job, to)
}

func (hostRoom) close(context.Context) error { return nil }
