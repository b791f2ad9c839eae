package agent

import (
	"sync"
	"time"
)

// spare is the keepers that wait for a step. Starting one takes some 20 ms, because the whole of otto starts; so that no
// step waits for it, one more than is needed is there, up to one for each task that can run.
type spare struct {
	mu       sync.Mutex
	waiting  []*attendant // the one that waits for the shortest time is last, and is taken first
	busy     int
	coming   int
	closed   bool
	closing  chan struct{} // closed when closed is set; nil until somebody waits for it
	filling  sync.WaitGroup
	trimming sync.WaitGroup
}

// spareIdle is how long a keeper waits while others wait as well: each holds some 4 MB.
const spareIdle = time.Minute

// keeper gives a keeper that waits, or a new one.
func (a *Agent) keeper() (*attendant, error) {
	defer a.prepareKeeper()
	for {
		k := a.spare.take()
		if k == nil {
			break
		}
		if k.waits() {
			return k, nil
		}
		a.spare.count(&a.spare.busy, -1)
		a.dismiss(k)
	}
	k, err := a.newKeeper()
	if err == nil {
		a.spare.count(&a.spare.busy, 1)
	}
	return k, err
}

// take gives the keeper that waits for the shortest time; nil if there is none.
func (s *spare) take() *attendant {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.waiting) - 1
	if last < 0 {
		return nil
	}
	k := s.waiting[last]
	s.waiting[last] = nil
	s.waiting = s.waiting[:last]
	s.busy++
	return k
}

func (s *spare) count(of *int, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*of += by
}

// giveBack lets a keeper that has served a step wait for the next.
func (a *Agent) giveBack(k *attendant) {
	k.mu.Lock()
	k.serving = nil
	k.mu.Unlock()
	if !a.spare.put(k, &a.spare.busy) {
		a.dismiss(k)
	}
	a.trimSpare()
}

// put lets a keeper wait, which one of the counts had counted, unless none is wanted any more.
func (s *spare) put(k *attendant, from *int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	*from--
	k.since = time.Now()
	if !s.closed {
		s.waiting = append(s.waiting, k)
	}
	return !s.closed
}

// trimSpare ends, in the background, keepers that nobody has needed for a while; but one.
func (a *Agent) trimSpare() {
	s := &a.spare
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.closing != nil || len(s.waiting) < 2 {
		return
	}
	closing := make(chan struct{})
	s.closing = closing
	s.trimming.Go(func() {
		for more := true; more; {
			select {
			case <-time.After(spareIdle):
			case <-closing:
				return
			}
			var idle []*attendant
			idle, more = s.surplus(time.Now())
			for _, k := range idle {
				a.dismiss(k)
			}
		}
	})
}

// surplus takes out the keepers that have waited for too long, and says whether others might come to that.
func (s *spare) surplus(now time.Time) (idle []*attendant, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.waiting) > 1 && now.Sub(s.waiting[0].since) >= spareIdle {
		idle, s.waiting = append(idle, s.waiting[0]), s.waiting[1:]
	}
	if more = len(s.waiting) > 1; !more && !s.closed {
		s.closing = nil
	}
	return idle, more
}

// prepareKeeper starts a keeper in the background, unless one waits or there are enough. That it cannot be started is for
// the step to say.
func (a *Agent) prepareKeeper() {
	s := &a.spare
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.waiting)+s.coming > 0 || s.busy >= a.cfg.Capacity {
		return
	}
	s.coming++
	s.filling.Go(func() {
		k, err := a.newKeeper()
		if err != nil {
			s.count(&s.coming, -1)
		} else if !s.put(k, &s.coming) {
			a.dismiss(k)
		}
	})
}

// closeSpare ends the waiting keepers, and starts no more.
func (a *Agent) closeSpare() {
	a.spare.mu.Lock()
	a.spare.closed = true
	if a.spare.closing != nil {
		close(a.spare.closing)
	}
	waiting := a.spare.waiting
	a.spare.waiting = nil
	a.spare.mu.Unlock()
	for _, k := range waiting {
		a.dismiss(k)
	}
	a.spare.filling.Wait()
	a.spare.trimming.Wait()
}
