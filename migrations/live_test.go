package migrations_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/db"
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

// A table gets a column while a function that answers its rows waits for it: that one call fails, in a way that its caller
// takes for a reason to try again. The next one, in the same session, is fine.
func TestColumnUnderLoad(t *testing.T) {
	t.Parallel()
	database := dbtest.Open(t)
	session, err := database.App.Acquire(t.Context())
	must(t, err)
	defer session.Release()
	beat := func() error { _, err := db.New(session).ServerBeat(t.Context(), "api"); return err }
	must(t, beat())
	alter, err := database.Owner.Begin(t.Context())
	must(t, err)
	_, err = alter.Exec(t.Context(), "alter table cluster add later int")
	must(t, err)
	answer := make(chan error, 1)
	go func() { answer <- beat() }()
	for blocked := 0; blocked == 0; {
		blocked = count(t, database, "select count(*) from pg_locks where not granted and relation = 'cluster'::regclass")
	}
	must(t, alter.Commit(t.Context()))
	if err := <-answer; err != nil && !db.Unavailable(err) {
		t.Errorf("the call that waited: %v", err)
	}
	must(t, beat())
}
