package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ottoci/otto/client"
)

// chunkLimit bounds one try of sending a chunk; a slow line may need long for one.
const chunkLimit = 2 * time.Minute

// upload sends the chunks of a task's log, in order, until the server has all of them. A chunk whose answer was lost is
// sent again: the server knows it by its number. The server says which one it wants next.
func (a *Agent) upload(ctx context.Context, lease string, s *spool) error {
	pauses := newReportBackoff(a.cfg.ReconnectWindow)
	seq := 0
	for {
		body, err := s.next(ctx, seq)
		if err != nil || body == nil {
			return err
		}
		ack, err := a.sendChunk(ctx, lease, body)
		if err != nil {
			if refused(err) || ctx.Err() != nil {
				return err
			}
			if pauses.tries == 0 {
				a.log.WarnContext(ctx, "log not stored, trying on", "lease", lease, "seq", seq, "error", err)
			}
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

func (a *Agent) sendChunk(ctx context.Context, lease string, body []byte) (ack client.LogAck, err error) {
	var chunk client.LogChunk
	if err := json.Unmarshal(body, &chunk); err != nil {
		return ack, fmt.Errorf("read the log's spool: %w", err)
	}
	err = try(ctx, chunkLimit, func(ctx context.Context) error {
		ack, err = a.logs.LeaseLog(ctx, lease, chunk)
		return err
	})
	return ack, err
}
