package jobs

import (
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// longestPause is between two tries of a job. River's own pauses grow to days: after an hour without room in the object
// store, logs would stay in the database for another half hour.
const longestPause = 30 * time.Second

// retries are River's, but no further apart than longestPause. A job that has used them up is made anew by run_reconcile.
type retries struct{ river.DefaultClientRetryPolicy }

// NextRetry is when a job that failed is tried again.
func (r *retries) NextRetry(job *rivertype.JobRow) time.Time {
	at, latest := r.DefaultClientRetryPolicy.NextRetry(job), time.Now().Add(longestPause)
	if at.After(latest) {
		return latest
	}
	return at
}
