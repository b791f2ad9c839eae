package client

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// Reporter says that leases begin and end, and what their logs are if they are short, like the methods of Client of the same names, for an agent that has many: what
// is said while a request is under way goes out together in the next one. A report that comes alone is sent at once.
type Reporter struct {
	client *Client

	mu       sync.Mutex
	sending  bool
	alone    bool // the server is older than lease-report
	starts   []saying[LeaseStarted]
	logs     []saying[LeaseLogged]
	finishes []saying[LeaseFinished]

	stop  func()
	quit  chan struct{}
	group sync.WaitGroup
}

// saying is a report that somebody waits for.
type saying[R any] struct {
	report R
	heard  chan hearing // takes one
}

// hearing is the answer to one report.
type hearing struct {
	state LeaseState
	next  int // chunk of the log
	err   error
}

const (
	// reportsAtMost of each kind are in a request.
	reportsAtMost = 256
	// reportPatience bounds a request that several wait for; each of them may have less.
	reportPatience = 30 * time.Second
)

// NewReporter makes a reporter that sends through c.
func NewReporter(c *Client) *Reporter {
	r := &Reporter{client: c, quit: make(chan struct{})}
	r.stop = sync.OnceFunc(func() { close(r.quit) })
	return r
}

// Stop gives up the request that is under way, if any, and returns once it has ended. It may be called twice.
func (r *Reporter) Stop() {
	r.stop()
	r.group.Wait()
}

// LeaseStart says that the work of a lease begins.
func (r *Reporter) LeaseStart(ctx context.Context, lease string, start LeaseStart) (LeaseState, error) {
	h, sent := say(ctx, r, &r.starts, LeaseStarted{lease, start})
	if !sent {
		return r.client.LeaseStart(ctx, lease, start)
	}
	return h.state, h.err
}

// LeaseLog stores a chunk of a lease's log. Long logs have LeaseLogFrames.
func (r *Reporter) LeaseLog(ctx context.Context, lease string, chunk LogChunk) (LogAck, error) {
	h, sent := say(ctx, r, &r.logs, LeaseLogged{lease, chunk})
	if !sent {
		return r.client.LeaseLog(ctx, lease, chunk)
	}
	return LogAck{h.next}, h.err
}

// LeaseFinish says what became of a lease. One with outputs, which may be large, goes alone.
func (r *Reporter) LeaseFinish(ctx context.Context, lease string, finish LeaseFinish) (LeaseState, error) {
	if len(finish.Outputs) > 0 {
		return r.client.LeaseFinish(ctx, lease, finish)
	}
	h, sent := say(ctx, r, &r.finishes, LeaseFinished{lease, finish})
	if !sent {
		return r.client.LeaseFinish(ctx, lease, finish)
	}
	return h.state, h.err
}

// say puts a report in line, sees to it that somebody sends, and waits for the answer; not if the server takes single
// reports only. Where ctx ends first, the report may or may not have been taken.
func say[R any](ctx context.Context, r *Reporter, line *[]saying[R], report R) (h hearing, sent bool) {
	s := saying[R]{report, make(chan hearing, 1)}
	if !r.send(ctx, func() { *line = append(*line, s) }) {
		return h, false
	}
	select {
	case h = <-s.heard:
	case <-ctx.Done():
		h.err = context.Cause(ctx)
	}
	return h, true
}

// send does so under the lock.
func (r *Reporter) send(ctx context.Context, enqueue func()) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.alone {
		return false
	}
	enqueue()
	if !r.sending {
		r.sending = true
		r.group.Go(func() { r.run(context.WithoutCancel(ctx)) })
	}
	return true
}

// run sends until nothing is in line.
func (r *Reporter) run(ctx context.Context) {
	// Who is about to say something comes first: the end of a log is ready in the same moment as the result of its task.
	runtime.Gosched()
	for {
		r.mu.Lock()
		starts, logs, finishes := cut(&r.starts), cut(&r.logs), cut(&r.finishes)
		if len(starts)+len(logs)+len(finishes) == 0 {
			r.sending = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		r.exchange(ctx, starts, logs, finishes)
	}
}

// exchange sends reports and passes on the answers.
func (r *Reporter) exchange(ctx context.Context, starts []saying[LeaseStarted], logs []saying[LeaseLogged], finishes []saying[LeaseFinished]) {
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	r.group.Go(func() {
		select {
		case <-r.quit:
			cancel()
		case <-ctx.Done():
		}
	})
	answer, err := r.client.LeaseReport(ctx, LeaseReports{reportsIn(starts), reportsIn(logs), reportsIn(finishes)})
	if IsStatus(err, http.StatusNotFound) || IsStatus(err, http.StatusMethodNotAllowed) {
		r.mu.Lock()
		r.alone = true
		r.mu.Unlock()
		r.oneByOne(ctx, starts, logs, finishes)
		return
	}
	tell(starts, len(answer.Starts), err, func(i int) hearing { return answer.Starts[i].hearing() })
	tell(logs, len(answer.Logs), err, func(i int) hearing { return answer.Logs[i].hearing() })
	tell(finishes, len(answer.Finishes), err, func(i int) hearing { return answer.Finishes[i].hearing() })
}

// oneByOne sends reports to a server that takes no others.
func (r *Reporter) oneByOne(ctx context.Context, starts []saying[LeaseStarted], logs []saying[LeaseLogged], finishes []saying[LeaseFinished]) {
	for _, s := range starts {
		state, err := r.client.LeaseStart(ctx, s.report.Lease, s.report.LeaseStart)
		s.heard <- hearing{state: state, err: err}
	}
	for _, s := range logs {
		ack, err := r.client.LeaseLog(ctx, s.report.Lease, s.report.LogChunk)
		s.heard <- hearing{next: ack.Next, err: err}
	}
	for _, s := range finishes {
		state, err := r.client.LeaseFinish(ctx, s.report.Lease, s.report.LeaseFinish)
		s.heard <- hearing{state: state, err: err}
	}
}

// tell passes results on to those who wait for them.
func tell[R any](to []saying[R], results int, err error, result func(i int) hearing) {
	for i, s := range to {
		switch {
		case err != nil:
			s.heard <- hearing{err: err}
		case i >= results:
			s.heard <- hearing{err: &Error{Status: http.StatusBadGateway, Detail: "the server answered fewer reports than it was sent"}}
		default:
			s.heard <- result(i)
		}
	}
}

func (r LeaseResult) hearing() hearing {
	if r.Problem != nil {
		return hearing{err: r.Problem}
	}
	return hearing{state: r.LeaseState}
}

func (r LeaseLogResult) hearing() hearing {
	if r.Problem != nil {
		return hearing{err: r.Problem}
	}
	return hearing{next: r.Next}
}

// cut takes the first in line.
func cut[R any](line *[]saying[R]) []saying[R] {
	n := min(len(*line), reportsAtMost)
	head := (*line)[:n:n]
	*line = (*line)[n:]
	return head
}

func reportsIn[R any](line []saying[R]) []R {
	list := make([]R, len(line))
	for i, s := range line {
		list[i] = s.report
	}
	return list
}
