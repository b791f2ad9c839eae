package agent

import "sync"

// spare is a keeper that waits for the next step. Starting one takes some 20 ms, because the whole of otto starts; so
// that no step waits for it, the next one is started while the last one runs.
type spare struct {
	mu      sync.Mutex
	waiting *process
	closed  bool
	filling sync.WaitGroup
}

// keeper gives the waiting keeper, or a new one, and starts the next.
func (a *Agent) keeper() (*process, error) {
	a.spare.mu.Lock()
	p := a.spare.waiting
	a.spare.waiting = nil
	a.spare.mu.Unlock()
	defer a.prepareKeeper()
	if p != nil {
		if p.waits() {
			return p, nil
		}
		a.discard(p)
	}
	return a.newKeeper()
}

// prepareKeeper starts a keeper in the background, unless one waits. That it cannot be started is for the step to say.
func (a *Agent) prepareKeeper() {
	a.spare.mu.Lock()
	defer a.spare.mu.Unlock()
	if a.spare.closed {
		return
	}
	a.spare.filling.Go(func() {
		p, err := a.newKeeper()
		if err != nil {
			return
		}
		a.spare.mu.Lock()
		extra := a.spare.closed || a.spare.waiting != nil
		if !extra {
			a.spare.waiting = p
		}
		a.spare.mu.Unlock()
		if extra {
			a.discard(p)
		}
	})
}

// closeSpare ends the waiting keeper, and starts no more.
func (a *Agent) closeSpare() {
	a.spare.mu.Lock()
	a.spare.closed = true
	p := a.spare.waiting
	a.spare.waiting = nil
	a.spare.mu.Unlock()
	if p != nil {
		a.discard(p)
	}
	a.spare.filling.Wait()
}

// discard ends a keeper that has no job.
func (a *Agent) discard(p *process) {
	_ = p.keeper.Process.Kill()
	_ = p.keeper.Wait()
	a.keepers.ended(p.keeper)
	p.closeAll()
}
