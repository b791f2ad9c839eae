package dbtest

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// clock is how far a database's otto.clock() is from what it stands on.
type clock struct {
	mu      sync.Mutex
	stopped time.Time // zero: it stands on Postgres' own time
	ahead   time.Duration
}

// SetClock stops otto.clock() of this database at a time.
func SetClock(t testing.TB, db *Database, at time.Time) {
	t.Helper()
	db.clock.mu.Lock()
	defer db.clock.mu.Unlock()
	db.clock.stopped, db.clock.ahead = at, 0
	db.clock.set(t, db)
}

// AdvanceClock moves otto.clock() of this database forward. A stopped clock stays stopped.
func AdvanceClock(t testing.TB, db *Database, d time.Duration) {
	t.Helper()
	db.clock.mu.Lock()
	defer db.clock.mu.Unlock()
	db.clock.ahead += d
	db.clock.set(t, db)
}

func (c *clock) set(t testing.TB, db *Database) {
	t.Helper()
	now := "now()"
	if !c.stopped.IsZero() {
		now = fmt.Sprintf("timestamptz '%s'", c.stopped.UTC().Format(time.RFC3339Nano))
	}
	_, err := db.Owner.Exec(t.Context(), fmt.Sprintf(`create or replace function otto.clock() returns timestamptz
		language plpgsql stable as $$ begin return %s + interval '%d microseconds'; end $$`, now, c.ahead.Microseconds()))
	if err != nil {
		t.Fatalf("dbtest: move the clock: %v", err)
	}
}
