package dbtest_test

import (
	"testing"
	"time"

	"github.com/ottoci/otto/db/dbtest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	start := time.Now()
	db := dbtest.Open(t)
	t.Log("open", time.Since(start))
	var role string
	if err := db.App.QueryRow(t.Context(), "select current_user").Scan(&role); err != nil || role != "otto_app" {
		t.Fatalf("role %q, %v", role, err)
	}
	start = time.Now()
	dbtest.Open(t)
	t.Log("open", time.Since(start))
}
