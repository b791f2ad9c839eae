package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

// A log that was deleted before its run is said to have expired, in every form.
func TestLogExpired(t *testing.T) {
	t.Parallel()
	l := startLogged(t)
	l.chunk(0, "begin", "", "stdout", "one\n")
	l.end()
	l.compact()
	mustExec(t, l.node, "update cluster set keep_logs = '30 days'")
	dbtest.AdvanceClock(t, l.db, 31*24*time.Hour)
	if n, err := db.New(l.db.App).LogsExpire(t.Context(), db.LogsExpireParams{AtMost: 10, Actor: "t"}); n != 1 || err != nil {
		t.Fatalf("%d logs expired, %v", n, err)
	}
	for _, accept := range []string{"text/plain", "application/json", "text/event-stream"} {
		p := refused(t, l.do("reader", "GET", l.path(""), nil, "Accept", accept), http.StatusNotFound, codeNotFound)
		if !strings.Contains(p.Detail, "of attempt 1 of task") || !strings.Contains(p.Detail, " expired at 2") || !strings.Contains(p.Hint, "keep_logs") {
			t.Errorf("%s: %+v", accept, p)
		}
	}
}

// A source that may soon be deleted is not offered; who stores it again keeps it, though its bytes were there.
func TestSourceIsStoredAgain(t *testing.T) {
	t.Parallel()
	n := start(t)
	bundle := []byte("a bundle")
	place := "/v1/sources/" + digestOf(bundle)
	put := func(want int) {
		t.Helper()
		if r := n.do("writer", "PUT", place, bundle); r.status != want {
			t.Fatalf("stored with %d, want %d: %s", r.status, want, r.body)
		}
	}
	put(http.StatusCreated)
	dbtest.AdvanceClock(t, n.db, 13*time.Hour)
	if r := n.do("reader", "GET", place, nil); r.status != http.StatusNotFound {
		t.Errorf("a source that goes within hours is offered: %d", r.status)
	}
	put(http.StatusOK)
	if r := n.do("reader", "GET", place, nil); r.status != http.StatusOK {
		t.Errorf("it is not there again: %d", r.status)
	}
	dbtest.AdvanceClock(t, n.db, 25*time.Hour)
	if gone, err := db.New(n.db.App).SourcesPrune(t.Context(), 10); gone != 1 || err != nil {
		t.Fatalf("%d sources went, %v", gone, err)
	}
	put(http.StatusCreated)
	if due, err := db.New(n.db.App).ObjectsTake(t.Context(), 10); len(due) != 0 || err != nil {
		t.Errorf("%v would be deleted, %v", due, err)
	}
}
