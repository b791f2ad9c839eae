package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quietFor is how long River's complaint is not repeated. Without a database River makes the same one many times a second.
const quietFor = 10 * time.Second

// quiet passes on River's warnings and errors, each sentence at most once in a while. Its information is about its inner
// life.
type quiet struct {
	slog.Handler
	said *said
}

type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

func quietly(log *slog.Logger) *slog.Logger {
	return slog.New(quiet{log.Handler(), &said{at: map[string]time.Time{}}})
}

// Enabled leaves out what is below a warning.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && q.Handler.Enabled(ctx, level)
}

// Handle leaves out what was said a moment ago. River's sentences are constants, so there are few.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	q.said.mu.Lock()
	repeated := r.Time.Sub(q.said.at[r.Message]) < quietFor
	if !repeated {
		q.said.at[r.Message] = r.Time
	}
	q.said.mu.Unlock()
	if repeated {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs keeps the memory.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.said}
}

// WithGroup keeps the memory.
func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.Handler.WithGroup(name), q.said}
}
