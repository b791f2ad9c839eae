package api

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter holds one bucket for each token, so that one busy program cannot crowd out the others. It is per process:
// the aim is to shed a flood early, not to count.
type limiter struct {
	rate    rate.Limit
	burst   int
	mu      sync.Mutex
	buckets map[int64]*rate.Limiter
}

// The defaults are far above what a person, a dashboard or a script that waits for answers does.
const (
	defaultRate  = 200 // per second
	defaultBurst = 2000
	maxBuckets   = 10_000
)

// cost is what a request of a class takes from its token's bucket. Agents are not in it: they are never limited.
func cost(class rateClass) int {
	switch class {
	case classRead:
		return 1
	case classWrite:
		return 2
	case classStream:
		return 5
	case classUpload:
		return 10
	}
	return 0
}

func newLimiter(perSecond float64, burst int) *limiter {
	l := &limiter{rate: rate.Limit(perSecond), burst: burst, buckets: map[int64]*rate.Limiter{}}
	switch {
	case perSecond == 0:
		l.rate = defaultRate
	case perSecond < 0:
		l.rate = rate.Inf
	}
	if burst == 0 {
		l.burst = defaultBurst
	}
	return l
}

// allow takes the cost of a request from the token's bucket, and says whether it was there.
func (l *limiter) allow(token int64, class rateClass) bool {
	n := cost(class)
	if n == 0 {
		return true
	}
	l.mu.Lock()
	bucket := l.buckets[token]
	if bucket == nil {
		if len(l.buckets) >= maxBuckets {
			clear(l.buckets)
		}
		bucket = rate.NewLimiter(l.rate, l.burst)
		l.buckets[token] = bucket
	}
	l.mu.Unlock()
	return bucket.AllowN(time.Now(), n)
}
