package agent

import (
	"context"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// limits are what the machine is to bound of the task.
func (t *task) limits() isolation.Limits {
	asked := t.asked()
	return isolation.Limits{Memory: asked.Memory, Processes: int(asked.Processes), CPU: asked.CPU, OpenFiles: int(asked.OpenFiles), FileBytes: asked.Disk}
}

func (t *task) asked() client.Limits {
	if t.lease.Spec.Limits == nil {
		return client.Limits{}
	}
	return *t.lease.Spec.Limits
}

// watch is an eye on what a step writes, to the log and to disk, which no kernel bounds for a whole task.
type watch struct {
	task  *task
	broke context.CancelCauseFunc
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// diskPause is how long the agent waits between two looks at the size of a task's directory; more for one that takes long
// to look at, so that looking never takes more than a tenth of the time.
const diskPause = time.Second

// watch begins to watch a step. The context ends when the step is over a limit.
func (t *task) watch(ctx context.Context) (context.Context, *watch) {
	w := &watch{task: t}
	limited, broke := context.WithCancelCause(ctx)
	looking, stop := context.WithCancel(limited)
	w.broke, w.stop = broke, stop
	if t.asked().Disk > 0 {
		w.done.Go(func() { w.disk(looking) })
	}
	return limited, w
}

func (w *watch) end() {
	w.stop()
	w.done.Wait()
	w.broke(nil)
}

// wrote counts output. The steps of a task run one after the other, but each writes from two sides.
func (w *watch) wrote(n int) {
	limit := w.task.asked().Output
	if written := w.task.written.Add(int64(n)); limit > 0 && written > limit {
		w.broke(errBroke(isolation.BrokeOutput))
	}
}

func (w *watch) disk(ctx context.Context) {
	for {
		began := time.Now()
		if w.task.occupied(ctx) > w.task.asked().Disk {
			w.broke(errBroke(isolation.BrokeDisk))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(diskPause, 9*time.Since(began))):
		}
	}
}

// occupied is how many bytes of disk the task's directory takes: holes in files do not count, and what has several names
// counts once for each.
func (t *task) occupied(ctx context.Context) (bytes int64) {
	root, err := os.OpenRoot(t.path(""))
	if err != nil {
		return 0
	}
	defer root.Close()
	_ = fs.WalkDir(root.FS(), ".", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		if info, err := entry.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += stat.Blocks * 512
			}
		}
		return ctx.Err()
	})
	return bytes
}
