package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// roster knows the agent's tasks. A task holds its lease, and a slot, until its result is accepted; its goroutine goes
// on until its log is stored as well.
type roster struct {
	capacity int

	mu      sync.Mutex
	holding map[string]*task // by lease id
	working int              // goroutines of tasks
	recent  []string         // the last leases, oldest first: an answer that was late may name one again
	closed  bool             // takes no more
	onFree  context.CancelCauseFunc
	quiet   chan struct{} // closed once nobody works and nobody can begin
}

var (
	errKnown    = errors.New("the lease is known already")
	errFull     = errors.New("the agent has no free slot")
	errDraining = errors.New("the agent is draining")
	errSlotFree = errors.New("a slot became free")
)

// remembered is how many leases are told apart from new ones. A lease named again was granted seconds ago.
const remembered = 4096

func newRoster(capacity int) *roster {
	return &roster{capacity: capacity, holding: map[string]*task{}, quiet: make(chan struct{})}
}

// admit takes in a task, unless its lease was here before or there is no room.
func (r *roster) admit(t *task) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case slices.Contains(r.recent, t.lease.ID):
		return errKnown
	case r.closed:
		return errDraining
	case len(r.holding) >= r.capacity:
		return errFull
	}
	if len(r.recent) == remembered {
		r.recent = slices.Delete(r.recent, 0, 1)
	}
	r.recent = append(r.recent, t.lease.ID)
	r.holding[t.lease.ID] = t
	r.working++
	return nil
}

// dismiss ends a task's hold on its lease: heartbeats no longer name it, and its slot is free.
func (r *roster) dismiss(t *task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.holding, t.lease.ID)
	if r.onFree != nil && !r.closed {
		r.onFree(errSlotFree)
	}
}

// leave says that a task's goroutine ends.
func (r *roster) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.working--
	r.settle()
}

// close takes no more tasks. The channel it gives is closed once the last one has left.
func (r *roster) close() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.settle()
	}
	return r.quiet
}

func (r *roster) settle() {
	if r.closed && r.working == 0 {
		close(r.quiet)
	}
}

func (r *roster) find(lease string) *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.holding[lease]
}

// held gives the tasks whose leases the agent holds.
func (r *roster) held() []*task {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*task, 0, len(r.holding))
	for _, t := range r.holding {
		out = append(out, t)
	}
	return out
}

func (r *roster) draining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// request says how many tasks fit, and gives the context of a request for as many. A request for none ends when a slot
// becomes free. One for some is never cut short: it could just have been granted a lease.
func (r *roster) request(ctx context.Context) (int, context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	free := r.capacity - len(r.holding)
	if r.closed {
		free = 0
	}
	r.onFree = nil
	if free == 0 {
		r.onFree = cancel
	}
	return free, ctx, func() { cancel(nil) }
}
