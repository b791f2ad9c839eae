package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ottoci/otto/client"
)

// begin submits a run and waits until all its steps have begun. It gives the tasks, and the first beginning.
func (p *press) begin(ctx context.Context, ottofile string, tasks int) (ids []int64, first mark, err error) {
	plan, err := p.plan(ctx, ottofile)
	if err != nil {
		return nil, first, err
	}
	run, err := p.admin.RunCreate(ctx, client.RunCreate{Project: "bench", Plan: plan})
	if err != nil {
		return nil, first, err
	}
	if first, err = p.marks.next(ctx); err != nil {
		return nil, first, err
	}
	detail, err := p.admin.RunShow(ctx, client.RunNumber(run.Run))
	if err != nil {
		return nil, first, err
	}
	for _, task := range detail.Stages[0].Tasks {
		ids = append(ids, task.Task)
	}
	for range tasks - 1 {
		if _, err := p.marks.next(ctx); err != nil {
			return nil, first, err
		}
	}
	return ids, first, nil
}

// read follows logs to their ends, each from its beginning. One that is shorter than it must be is an error.
func (p *press) read(ctx context.Context, tasks []int64, bytes int) *errgroup.Group {
	group, ctx := errgroup.WithContext(ctx)
	for i, task := range tasks {
		group.Go(func() error {
			log, err := p.user(i).TaskLog(ctx, task, client.LogOptions{Follow: true})
			if err != nil {
				return err
			}
			defer log.Close()
			n, err := io.Copy(io.Discard, log)
			if err == nil && n < int64(bytes) {
				err = fmt.Errorf("the log of task %d has %d bytes, %d were written", task, n, bytes)
			}
			return err
		})
	}
	return group
}

// deep measures how long it takes to see lines far inside of a log: as soon as it is complete, and once it is at rest in
// the object store.
func (p *press) deep(ctx context.Context, task int64, bytes int) error {
	line := int64(bytes / logLine * 9 / 10)
	if line > deepLine {
		line = deepLine
	}
	name := fmt.Sprintf("open line %s of %s MB", grouped(line), grouped(int64(bytes/1e6)))
	fresh, err := p.open(ctx, task, line)
	if err != nil {
		return err
	}
	p.s.report.add("logs", name+", just complete", "ms", samples{fresh})
	began := time.Now()
	err = p.until(ctx, glance, func(ctx context.Context) (is bool, err error) {
		if err := p.alive(); err != nil {
			return false, err
		}
		return is, p.db.QueryRow(ctx, "select exists (select from leases where task_id = $1 and log_object is not null)", task).Scan(&is)
	})
	if err != nil {
		return err
	}
	p.s.report.add("logs", "then moved to the object store within", "s", samples{time.Since(began).Seconds()})
	var took samples
	for range logOpens {
		one, err := p.open(ctx, task, line)
		if err != nil {
			return err
		}
		took = append(took, one)
	}
	p.s.report.add("logs", name+", in the object store", "ms", took)
	return nil
}

// open reads some lines, in milliseconds.
func (p *press) open(ctx context.Context, task, line int64) (float64, error) {
	began := time.Now()
	log, err := p.admin.TaskLog(ctx, task, client.LogOptions{FromLine: line, Lines: logShown})
	if err != nil {
		return 0, err
	}
	defer log.Close()
	n, err := io.Copy(io.Discard, log)
	if err == nil && n != logShown*logLine {
		err = fmt.Errorf("%d lines have %d bytes", logShown, n)
	}
	return ms(time.Since(began)), err
}

// viewedBytes is how much of the text a crowd reads.
const viewedBytes = 16 << 20

// viewers measures one log with many readers, who are there before its first byte.
func (p *press) viewers(ctx context.Context) error {
	bytes := min(p.unit, viewedBytes)
	script := p.marks.say("begins") + "; read _ < " + p.gate + fmt.Sprintf("; head -c %d %s; ", bytes, p.text) + p.marks.say("ended")
	settled, _, err := memory(p.server.pid())
	if err != nil {
		return err
	}
	if err := peakReset(p.server.pid()); err != nil {
		return err
	}
	ids, _, err := p.begin(ctx, oneTask("real", script), 1)
	if err != nil {
		return err
	}
	crowd := make([]int64, p.s.size.viewers)
	for i := range crowd {
		crowd[i] = ids[0]
	}
	readers := p.read(ctx, crowd, bytes)
	began := time.Now()
	if err := p.unlock(); err != nil {
		return err
	}
	ended, err := p.marks.next(ctx)
	if err != nil {
		return err
	}
	if err := readers.Wait(); err != nil {
		return err
	}
	name := fmt.Sprintf("%d viewers of one log", len(crowd))
	_, peak, err := memory(p.server.pid())
	p.s.report.add("logs", name+", all together", "MB/s", samples{float64(bytes*len(crowd)) / 1e6 / time.Since(began).Seconds()})
	p.s.report.add("logs", name+", step's end → the last has all", "ms", samples{ms(time.Since(ended.at))})
	p.s.report.add("logs", name+", growth of the server's memory", "MiB", samples{float64(peak-settled) / (1 << 20)})
	return err
}

// unlock lets the step at the gate go on.
func (p *press) unlock() error {
	gate, err := os.OpenFile(p.gate, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer gate.Close()
	_, err = gate.WriteString("go\n")
	return err
}
