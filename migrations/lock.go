package migrations

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	lockKey      = 0x6f74746f // "otto": the advisory lock of everything in this package
	lockPoll     = 25 * time.Millisecond
	lockPatience = 5 * time.Minute
)

// acquire takes the lock that lets one process migrate this database; it is given up with the connection. It polls:
// a blocking wait would hold a snapshot, for which the holder's `create index concurrently` would wait forever.
func acquire(ctx context.Context, conn *pgx.Conn) error {
	deadline := time.Now().Add(lockPatience)
	for {
		var got bool
		err := conn.QueryRow(ctx, "select pg_try_advisory_lock($1)", lockKey).Scan(&got)
		if err != nil {
			return fmt.Errorf("take the migrations' lock: %w", err)
		}
		if got {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("another process has been migrating this database for %v; find it with: "+
				"select * from pg_stat_activity where pid in (select pid from pg_locks where locktype = 'advisory' and objid = %d)",
				lockPatience, lockKey)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process to migrate this database: %w", context.Cause(ctx))
		case <-time.After(lockPoll):
		}
	}
}
