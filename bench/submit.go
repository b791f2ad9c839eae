package bench

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ottoci/otto/client"
)

// submitAtOnce is how many clients submit runs at the same time.
const submitAtOnce = 16

// submit starts runs of a plan, as fast as the server takes them.
func (r *rig) submit(ctx context.Context, plan string, runs int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	var next atomic.Int64
	for range min(submitAtOnce, runs) {
		group.Go(func() {
			for i := next.Add(1); int(i) <= runs && ctx.Err() == nil; i = next.Add(1) {
				if _, err := r.user(int(i)).RunCreate(ctx, client.RunCreate{Project: "bench", Plan: plan}); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// flow starts runs of a plan at an even rate, whether or not the ones before are over, until it is stopped. What is late
// is made up for.
type flow struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	failed atomic.Pointer[error]
}

// flowTick is how often a flow looks how many runs are due.
const flowTick = 5 * time.Millisecond

func (r *rig) startFlow(ctx context.Context, plan string, perSecond float64) *flow {
	f := &flow{}
	ctx, f.cancel = context.WithCancel(ctx)
	due := make(chan int, 4096) // deeper than any backlog that leaves the measurement meaningful
	f.group.Go(func() {
		defer close(due)
		began, sent := time.Now(), 0
		ticker := time.NewTicker(flowTick)
		defer ticker.Stop()
		for ctx.Err() == nil {
			for ; sent < int(time.Since(began).Seconds()*perSecond); sent++ {
				select {
				case due <- sent:
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	for range submitAtOnce {
		f.group.Go(func() {
			for i := range due {
				if _, err := r.user(i).RunCreate(ctx, client.RunCreate{Project: "load", Plan: plan}); err != nil && ctx.Err() == nil {
					f.failed.Store(&err)
					f.cancel()
				}
			}
		})
	}
	return f
}

// stop ends the flow, and says what went wrong with it.
func (f *flow) stop() error {
	f.cancel()
	f.group.Wait()
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// oneTask is an Ottofile with one task, for agents with the label if there is one.
func oneTask(label, script string) string {
	return "stages:\n  - stage: one\n" + requires(label) + "    steps: [{sh: " + quote(script) + "}]\n"
}

// manyTasks is an Ottofile with n tasks side by side.
func manyTasks(n int, label, script string) string {
	var b strings.Builder
	b.WriteString("stages:\n  - parallel:\n")
	for i := range n {
		fmt.Fprintf(&b, "      - task: t%d\n", i+1)
		if label != "" {
			fmt.Fprintf(&b, "        requires: { bench: %s }\n", label)
		}
		fmt.Fprintf(&b, "        steps: [{sh: %s}]\n", quote(script))
	}
	return b.String()
}

// twoStages is an Ottofile with two stages of one task each.
func twoStages(label, first, second string) string {
	return "stages:\n  - stage: one\n" + requires(label) + "    steps: [{sh: " + quote(first) + "}]\n" +
		"  - stage: two\n" + requires(label) + "    steps: [{sh: " + quote(second) + "}]\n"
}

func requires(label string) string {
	if label == "" {
		return ""
	}
	return "    requires: { bench: " + label + " }\n"
}

// quote writes a script in YAML's single quotes.
func quote(script string) string { return "'" + strings.ReplaceAll(script, "'", "''") + "'" }
