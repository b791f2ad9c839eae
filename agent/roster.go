package agent

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ottoci/otto/client"
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
	asked   int64         // number of the last request
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
	case r.busy() >= r.capacity:
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

// busy is how many tasks still work. One whose result is on its way may have ended for the server already, which then grants
// another for its slot.
func (r *roster) busy() int {
	n := 0
	for _, t := range r.holding {
		if !t.concluding() {
			n++
		}
	}
	return n
}

// dismiss ends a task's hold on its lease: heartbeats no longer name it, and its slot is free. Unless the server has counted
// the slot in the request that it holds, that request is replaced.
func (r *roster) dismiss(t *task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.holding, t.lease.ID)
	if r.onFree != nil && !r.closed && t.counted != r.asked {
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

// request makes a request for as many tasks as fit, and its context. A request for none ends when a slot becomes free that the
// server does not count. One for some is never cut short: it could just have been granted a lease.
func (r *roster) request(ctx context.Context) (client.LeaseRequest, context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	asked := client.LeaseRequest{Free: r.capacity - len(r.holding), Counting: r.asked}
	if r.closed {
		asked = client.LeaseRequest{}
	}
	r.onFree = nil
	if asked.Free == 0 {
		r.onFree = cancel
	}
	return asked, ctx, func() { cancel(nil) }
}
