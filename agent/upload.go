package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/ottoci/otto/client"
)

// chunkLimit bounds one try of sending chunks; a slow line may need long for them.
const chunkLimit = 2 * time.Minute

// upload sends the chunks of a task's log, in order, until the server has all of them. What has gathered while one request
// is on its way goes with the next: so a fast step needs few requests, and a slow one does not wait for company. Chunks
// whose answer was lost are sent again: the server knows them by their numbers. The server says which one it wants next.
func (a *Agent) upload(ctx context.Context, lease string, s *spool) error {
	pauses := a.reportBackoff()
	seq := 0
	for {
		b, err := s.next(ctx, seq)
		if err != nil || b.frames == nil {
			return err
		}
		ack, err := a.sendChunks(ctx, lease, b)
		if err != nil {
			if refused(err) || ctx.Err() != nil {
				return err
			}
			if pauses.tries == 0 {
				a.log.WarnContext(ctx, "log not stored, trying on", "lease", lease, "seq", b.seq, "error", err)
			}
			s.lost()
			sleep(ctx, pauses.pause(err))
			continue
		}
		if err := s.acknowledge(ack.Next); err != nil {
			return err
		}
		if ack.Next > seq {
			pauses.reset()
		} else {
			sleep(ctx, pauses.pause(nil)) // an answer without progress must not become a busy loop
		}
		seq = ack.Next
	}
}

// shortLog is up to how many compressed bytes of a log go with the reports of other tasks: for so few a request of their own
// costs more than they do.
const shortLog = 32 << 10

func (a *Agent) sendChunks(ctx context.Context, lease string, b batch) (ack client.LogAck, err error) {
	send := func(ctx context.Context) (client.LogAck, error) { return a.logs.LeaseLogFrames(ctx, lease, b.frames) }
	if len(b.frames) <= shortLog {
		chunks, err := client.ReadLogFrames(b.frames)
		if err != nil {
			return ack, fmt.Errorf("read the log's spool: %w", err)
		}
		if len(chunks) == 1 {
			send = func(ctx context.Context) (client.LogAck, error) { return a.reports.LeaseLog(ctx, lease, chunks[0]) }
		}
	}
	err = try(ctx, chunkLimit, func(ctx context.Context) error {
		ack, err = send(ctx)
		return err
	})
	return ack, err
}
