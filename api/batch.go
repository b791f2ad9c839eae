package api

import (
	"context"
	"sync"
	"time"
)

// batcher does calls of one kind together that come at the same time: one transaction, one commit. What comes while a
// batch is under way makes up the next one; a call that comes alone is done at once. So the busier the node, the larger its
// batches.
//
// No goroutine of its own does the work: the first in line does it for all who wait with him, then hands on the turn. What
// a batch leaves out, because it would be refused or would have to wait for somebody, its caller does by himself
// afterwards: so it holds up nobody else. Calls that nobody waits for may linger, so that more of them go together.
type batcher[I, O any] struct {
	most   int                                                           // items of a batch
	all    func(ctx context.Context, in []I) (done map[int]O, err error) // by place; an error has done nothing
	single func(ctx context.Context, in I) (O, error)
	// The first in line waits so long for others, knowing how large the batch before was, if that has just ended; not at all if
	// nil, or if the batch is full.
	linger func(last int)

	mu    sync.Mutex
	busy  bool
	last  int // items of the batch before
	ended time.Time
	queue []*inLine[I, O]
}

// crowd is from how many items on a batch makes the next one linger, and crowdLinger is how long. Where so many come at once
// they wait for each other anyway; to let a few more in makes each of them cheaper, and all of them sooner. A task alone ends with
// two, its log and its result. Who comes crowdGone after a batch waits for nobody: with 3 ms for that, real agents at work made
// 0.53 batches for each task, with an unlimited time 0.37.
const (
	crowd       = 3
	crowdLinger = 3 * time.Millisecond
	crowdGone   = 20 * time.Millisecond
)

// inCrowds is a linger for calls that somebody waits for: it costs nothing where they come one by one.
func inCrowds(last int) {
	if last >= crowd {
		time.Sleep(crowdLinger)
	}
}

// outcome is what became of one item.
type outcome[O any] struct {
	value O
	err   error
}

// inLine are the items of one caller.
type inLine[I, O any] struct {
	in   []I
	done map[int]O
	over chan struct{} // closed when the batch is over
	turn chan struct{} // closed when it is the caller's turn to do a batch
}

// call answers an outcome for each item. The batch does not end with ctx, which only lends its values: others wait for the
// same transaction. It is bounded by itself.
func (b *batcher[I, O]) call(ctx context.Context, in ...I) []outcome[O] {
	if len(in) == 0 {
		return nil
	}
	done := b.together(ctx, in)
	out := make([]outcome[O], len(in))
	for i, item := range in {
		value, ok := done[i]
		if !ok {
			value, out[i].err = b.single(ctx, item)
		}
		out[i].value = value
	}
	return out
}

// one is call with one item.
func (b *batcher[I, O]) one(ctx context.Context, in I) (O, error) {
	o := b.call(ctx, in)[0]
	return o.value, o.err
}

// together waits for the batch that the items are in, or does it.
func (b *batcher[I, O]) together(ctx context.Context, in []I) map[int]O {
	p := &inLine[I, O]{in: in, over: make(chan struct{}), turn: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, p)
	first := !b.busy
	b.busy = true
	b.mu.Unlock()
	if !first {
		select {
		case <-p.over:
			return p.done
		case <-p.turn:
		}
	}
	b.lead(ctx)
	return p.done // whose turn it is stands first in line, so his items were in the batch
}

// lead does one batch, and hands on the turn, whatever happens.
func (b *batcher[I, O]) lead(ctx context.Context) {
	if last, full := b.seen(); b.linger != nil && !full {
		b.linger(last)
	}
	callers, items := b.next()
	defer func() {
		for _, p := range callers {
			close(p.over)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended = time.Now()
		if len(b.queue) == 0 {
			b.busy = false
			return
		}
		close(b.queue[0].turn)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), workPatience)
	defer cancel()
	done, err := b.all(ctx, items)
	if err != nil { // one bad item must not spoil the others: each caller tries his own, and hears what is wrong with it
		return
	}
	place := 0
	for _, p := range callers {
		p.done = map[int]O{}
		for i := range p.in {
			if value, ok := done[place]; ok {
				p.done[i] = value
			}
			place++
		}
	}
}

// seen says how large the batch before was, 0 if that was a while ago, and whether as much as fits is in line again.
func (b *batcher[I, O]) seen() (last int, full bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := 0
	for _, p := range b.queue {
		items += len(p.in)
	}
	if time.Since(b.ended) > crowdGone {
		return 0, items >= b.most
	}
	return b.last, items >= b.most
}

// next takes the first in line, and those behind him for whom there is room.
func (b *batcher[I, O]) next() (callers []*inLine[I, O], items []I) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(b.queue) && (n == 0 || len(items)+len(b.queue[n].in) <= b.most) {
		items = append(items, b.queue[n].in...)
		n++
	}
	callers = b.queue[:n:n]
	b.queue, b.last = b.queue[n:], len(items)
	return callers, items
}
