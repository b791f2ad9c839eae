package transitions_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// The horizon lies at the oldest transaction that still writes. Of the two here the younger has an id beyond the newest that has
// ended: taken for one from before the last turn of the ids, it would hide the whole history from a reader, who would then go on
// from the end.
func TestHorizonBelowTwoWriters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run("steps: [{sh: a}]")
	var ids []int64
	for range 2 {
		tx := must[pgx.Tx](t)(w.db.App.Begin(w.ctx()))
		defer func() { _ = tx.Rollback(w.ctx()) }()
		var id int64
		if err := tx.QueryRow(w.ctx(), "select pg_current_xact_id()::text::bigint").Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	var horizon int64
	if err := w.db.App.QueryRow(w.ctx(), "select otto.event_horizon()").Scan(&horizon); err != nil {
		t.Fatal(err)
	}
	// Tests of other databases of the cluster write, too, and may have begun a little before.
	if horizon > ids[0] || ids[0]-horizon > 1_000_000 {
		t.Errorf("the horizon is %d, and %d and %d are writing", horizon, ids[0], ids[1])
	}
}
