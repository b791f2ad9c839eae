package jobs

import (
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
)

// Whatever was wrong and for how long: once it is right again, a job does not wait for long.
func TestRetriesStayClose(t *testing.T) {
	t.Parallel()
	failed := &rivertype.JobRow{}
	for range 25 {
		failed.Attempt++
		failed.Errors = append(failed.Errors, rivertype.AttemptError{Attempt: failed.Attempt})
		began := time.Now()
		if pause := (&retries{}).NextRetry(failed).Sub(began); pause <= 0 || pause > longestPause+time.Second {
			t.Errorf("after attempt %d it waits %s", failed.Attempt, pause)
		}
	}
}
