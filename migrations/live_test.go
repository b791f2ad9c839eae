package migrations_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/db/dbtest"
)

// A rebuild happens under load, when the first server of a new version starts. Callers of the functions must not
// notice it.
func TestRebuildUnderLoad(t *testing.T) {
	t.Parallel()
	db := dbtest.Open(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var callers sync.WaitGroup
	var calls [4]int
	for i := range calls {
		callers.Go(func() {
			for ctx.Err() == nil {
				// Functions that call others, and a view.
				_, err := db.App.Exec(context.WithoutCancel(ctx), `select otto.severity(state), otto.wake('test') from otto_api.runs limit 1`)
				if err == nil {
					_, err = db.App.Exec(context.WithoutCancel(ctx), `select otto.run_abort(1, 'test')`)
				}
				if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && refused.Code == "OT404" {
					err = nil // there is no run 1, as a function in a function in a function has found
				}
				if err != nil {
					t.Errorf("call %d of caller %d: %v", calls[i], i, err)
					return
				}
				calls[i]++
			}
		})
	}
	for range 5 {
		outdate(t, db)
		up(t, db.URL)
	}
	cancel()
	callers.Wait()
	t.Logf("calls during 5 rebuilds: %v", calls)
}
