package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Figures that verdicts are about.
const (
	figLogRate   = "step → readable, one stream"
	figLogBytes  = "WAL per raw byte, one stream"
	figLogLag    = "step's end → complete, one stream"
	figLogMemory = "growth of the server's memory, one stream"
)

const (
	logStreams = 16
	logOpens   = 20      // times that a place in a log is opened
	logShown   = 100     // lines that are read there
	deepLine   = 9000000 // of the large log
)

// press is what logs are measured with: a rig with a real agent, and a file of text for its steps to print.
type press struct {
	*rig
	marks  *fifo
	text   string  // path
	unit   int     // bytes of the text
	packed float64 // bytes of the compressed text for one of the raw
	gate   string  // path of a pipe that a step can wait at
}

func (s *session) logs(ctx context.Context) error {
	p, err := s.newPress(ctx)
	if err != nil {
		return err
	}
	defer p.marks.close()
	defer p.stop()
	task, bytes, err := p.oneStream(ctx)
	if err != nil {
		return fmt.Errorf("one stream: %w", err)
	}
	if err := p.deep(ctx, task, bytes); err != nil {
		return fmt.Errorf("open a line: %w", err)
	}
	if err := p.streams(ctx); err != nil {
		return fmt.Errorf("%d streams: %w", logStreams, err)
	}
	return p.viewers(ctx)
}

func (s *session) newPress(ctx context.Context) (_ *press, err error) {
	r, err := s.newRig(ctx, "logs")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	dir := filepath.Join(s.cfg.Dir, r.name)
	p := &press{rig: r, text: filepath.Join(dir, "text")}
	text := logText(s.random, max(s.size.logMB/16, 1)<<20)
	p.unit = len(text)
	if p.packed, err = packed(text); err != nil {
		return nil, err
	}
	if err := os.WriteFile(p.text, text, 0o600); err != nil {
		return nil, err
	}
	if p.marks, err = newFifo(dir, "marks"); err != nil {
		return nil, err
	}
	if p.gate, err = makePipe(dir, "gate"); err != nil {
		return nil, err
	}
	return p, r.addAgent(ctx, "real", bareLevel, logStreams)
}

// print is a script that prints the text so many times, and says when it begins and when it has ended.
func (p *press) print(times int) string {
	return p.marks.say("begins") + "; cat" + strings.Repeat(" "+p.text, times) + "; " + p.marks.say("ended")
}

// printed is how a log went.
type printed struct {
	task       int64
	bytes      int // raw
	took, late time.Duration
	wal        int64
	growth     int64 // bytes of memory that the server took more at its peak than before
}

// follow runs a plan whose tasks all print, and reads all their logs while they are written.
func (p *press) follow(ctx context.Context, ottofile string, tasks, bytes int) (out printed, err error) {
	before, err := p.s.pg.work(ctx, p.name)
	if err != nil {
		return out, err
	}
	settled, _, err := memory(p.server.pid())
	if err != nil {
		return out, err
	}
	if err := peakReset(p.server.pid()); err != nil {
		return out, err
	}
	began, ended, err := p.readAll(ctx, ottofile, tasks, bytes, &out)
	if err != nil {
		return out, err
	}
	read := time.Now()
	after, err := p.s.pg.work(ctx, p.name)
	if err != nil {
		return out, err
	}
	_, peak, err := memory(p.server.pid())
	out.bytes, out.took, out.late = bytes*tasks, read.Sub(began), read.Sub(ended)
	out.wal, out.growth = after.since(before).WAL, peak-settled
	return out, err
}

// readAll submits the run and reads its logs to their ends. It gives the times at which the first step began and the
// last one ended.
func (p *press) readAll(ctx context.Context, ottofile string, tasks, bytes int, out *printed) (began, ended time.Time, err error) {
	ids, first, err := p.begin(ctx, ottofile, tasks)
	if err != nil {
		return began, ended, err
	}
	out.task = ids[0]
	readers := p.read(ctx, ids, bytes)
	for range tasks {
		m, err := p.marks.next(ctx)
		if err != nil {
			return began, ended, err
		}
		ended = m.at
	}
	return first.at, ended, readers.Wait()
}

// oneStream measures a log alone, in turns with what bare SQL can store. The last and largest one is left for others.
func (p *press) oneStream(ctx context.Context) (task int64, bytes int, err error) {
	var rates, ceilings, perByte, late, growth samples
	before, err := p.s.chunkRate(ctx, 1)
	if err != nil {
		return 0, 0, err
	}
	for _, times := range []int{4, 4, 16} {
		got, err := p.follow(ctx, oneTask("real", p.print(times)), 1, times*p.unit)
		if err != nil {
			return 0, 0, err
		}
		after, err := p.s.chunkRate(ctx, 1)
		if err != nil {
			return 0, 0, err
		}
		rates, ceilings = append(rates, float64(got.bytes)/1e6/got.took.Seconds()), append(ceilings, (before+after)/2)
		perByte, late = append(perByte, float64(got.wal)/float64(got.bytes)), append(late, ms(got.late))
		growth = append(growth, float64(got.growth)/(1<<20))
		before, task, bytes = after, got.task, got.bytes
	}
	p.s.report.add("logs", figLogRate, "MB/s", rates).beside(rates, ceilings)
	packed := make(samples, len(perByte))
	for i := range packed {
		packed[i] = p.packed
	}
	p.s.report.add("logs", figLogBytes, "", perByte).beside(perByte, packed)
	p.s.report.add("logs", figLogLag, "ms", late)
	p.s.report.add("logs", figLogMemory, "MiB", growth)
	return task, bytes, nil
}

// streams measures many logs at once.
func (p *press) streams(ctx context.Context) error {
	ceiling, err := p.s.chunkRate(ctx, 4)
	if err != nil {
		return err
	}
	got, err := p.follow(ctx, manyTasks(logStreams, "real", p.print(1)), logStreams, p.unit)
	if err != nil {
		return err
	}
	rate := samples{float64(got.bytes) / 1e6 / got.took.Seconds()}
	p.s.report.add("logs", fmt.Sprintf("step → readable, %d streams", logStreams), "MB/s", rate).beside(rate, samples{ceiling})
	p.s.report.add("logs", fmt.Sprintf("growth of the server's memory, %d streams", logStreams), "MiB", samples{float64(got.growth) / (1 << 20)})
	return nil
}
