package api

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ottoci/otto/db"
)

// cursor is a place in the history of events.
type cursor struct{ tx, id int64 }

func (c cursor) String() string { return fmt.Sprintf("%d-%d", c.tx, c.id) }

func (c cursor) before(o cursor) bool { return c.tx < o.tx || c.tx == o.tx && c.id < o.id }

func cursorOf(e db.EventsAfterRow) cursor { return cursor{e.Tx, e.ID} }

// parseCursor reads a cursor; empty is the beginning.
func parseCursor(text string) (cursor, error) {
	if text == "" {
		return cursor{}, nil
	}
	tx, id, ok := strings.Cut(text, "-")
	t, err1 := strconv.ParseInt(tx, 10, 64)
	n, err2 := strconv.ParseInt(id, 10, 64)
	if !ok || err1 != nil || err2 != nil || t < 0 || n < 0 {
		return cursor{}, newProblem(codeInvalid, "%q is not the id of an event", text).hint("take the id of the last event you have seen")
	}
	return cursor{t, n}, nil
}

// tail reads new events once for all streams of this process and keeps the newest. Streams hold nothing but their
// place; one that falls behind what is kept reads from the database until it has caught up. Without streams the tail
// asks for nothing.
type tail struct {
	api   *API
	begin chan struct{} // the first stream has come

	mu      sync.Mutex
	streams int
	known   bool // from and end are valid
	from    cursor
	end     cursor
	recent  []db.EventsAfterRow // all events after from, up to end
	grown   chan struct{}       // closed when there are more
}

const (
	tailKept  = 4000
	eventPage = 500
	// tailGap is the least time between two looks, however often the database wakes us.
	tailGap = 10 * time.Millisecond
	// tailSoon is when to look again after a wake-up: an event may be held back by an older transaction that is still
	// at work. Each empty look doubles it, up to tailPoll.
	tailSoon = 20 * time.Millisecond
	tailPoll = time.Second
)

func newTail(a *API) *tail {
	return &tail{api: a, begin: make(chan struct{}, 1), grown: make(chan struct{})}
}

// join and leave count the streams.
func (t *tail) join() {
	t.mu.Lock()
	t.streams++
	t.mu.Unlock()
	select {
	case t.begin <- struct{}{}:
	default:
	}
}

func (t *tail) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams--; t.streams == 0 {
		t.known, t.recent = false, nil
	}
}

func (t *tail) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.streams == 0
}

// run looks for new events while there are streams.
func (t *tail) run(ctx context.Context) {
	woken, cancel := t.api.wake.Subscribe(db.TopicEvent)
	defer cancel()
	delay := tailPoll
	for ctx.Err() == nil {
		if t.idle() {
			select {
			case <-ctx.Done():
			case <-t.begin:
			}
			continue
		}
		n, err := t.look(ctx)
		switch {
		case err != nil:
			t.api.log.DebugContext(ctx, "events were not read", "error", err)
			delay = tailPoll
		case n > 0:
			delay = tailSoon
		default:
			delay = min(2*delay, tailPoll)
		}
		wait(ctx, tailGap)
		timer := time.NewTimer(delay - rand.N(delay/10))
		select {
		case <-ctx.Done():
		case <-woken:
			delay = tailSoon / 2
		case <-t.begin:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// look reads what is new and tells the streams; it says how much.
func (t *tail) look(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, roundPatience)
	defer cancel()
	if err := t.find(ctx); err != nil {
		return 0, err
	}
	rows, err := t.api.users.EventsAfter(ctx, db.EventsAfterParams{Tx: t.end.tx, ID: t.end.id, AtMost: eventPage})
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = append(t.recent, rows...)
	t.end = cursorOf(rows[len(rows)-1])
	if over := len(t.recent) - tailKept; over > 0 {
		t.from = cursorOf(t.recent[over-1])
		t.recent = slices.Clone(t.recent[over:])
	}
	close(t.grown)
	t.grown = make(chan struct{})
	return len(rows), nil
}

// find begins at the present end of history. Only run calls it, so what it reads of its own fields cannot change,
// except that leave may forget them; then a look of nobody reads a page in vain.
func (t *tail) find(ctx context.Context) error {
	t.mu.Lock()
	known := t.known
	t.mu.Unlock()
	if known {
		return nil
	}
	end, err := t.api.users.EventsEnd(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.from = cursor{end.Tx, end.ID}
	t.end, t.recent, t.known = t.from, nil, true
	close(t.grown)
	t.grown = make(chan struct{})
	return nil
}

// follower is one stream's place in the history; of one run, or of all if run is nil.
type follower struct {
	tail *tail
	run  *int64
	at   cursor
	last *cursor // where the history ended when the stream began; nil if it goes on
}

// over says whether the stream began at or after the end of the history. An end that the stream has yet to reach may be
// held back for a moment, and comes as an event.
func (f *follower) over() bool { return f.last != nil && !f.at.before(*f.last) }

// next gives what follows its place, and a channel that closes when there is more; nil if there is more already.
func (f *follower) next(ctx context.Context) ([]db.EventsAfterRow, <-chan struct{}, error) {
	t := f.tail
	t.mu.Lock()
	known, from, end, grown, recent := t.known, t.from, t.end, t.grown, t.recent
	t.mu.Unlock()
	if known && !f.at.before(from) {
		// Entries are never changed, only added and dropped, so they may be read without the lock.
		rows := recent[firstAfter(recent, f.at):]
		if f.at.before(end) {
			f.at = end
		}
		return f.mine(rows), grown, nil
	}
	rows, err := t.api.users.EventsAfter(ctx, db.EventsAfterParams{Run: f.run, Tx: f.at.tx, ID: f.at.id, AtMost: eventPage})
	if err != nil {
		return nil, grown, err
	}
	if len(rows) > 0 {
		f.at = cursorOf(rows[len(rows)-1])
	}
	if len(rows) == eventPage {
		return rows, nil, nil
	}
	// The read saw all that the tail had seen before it, so the stream may go on from the tail's end.
	if known && f.at.before(end) {
		f.at = end
	}
	return rows, grown, nil
}

func firstAfter(rows []db.EventsAfterRow, at cursor) int {
	n, _ := slices.BinarySearchFunc(rows, at, func(e db.EventsAfterRow, at cursor) int {
		if at.before(cursorOf(e)) {
			return 1
		}
		return -1
	})
	return n
}

// mine are the rows of the follower's run.
func (f *follower) mine(rows []db.EventsAfterRow) []db.EventsAfterRow {
	if f.run == nil {
		return rows
	}
	var list []db.EventsAfterRow
	for _, e := range rows {
		if e.Run == *f.run {
			list = append(list, e)
		}
	}
	return list
}
