package db_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/dbtest"
)

// A listening is somebody who hears wake-ups of a database, and who they come from.
type listening struct {
	*db.Wakeups
	t     *testing.T
	d     *dbtest.Database
	woken map[string]<-chan struct{}
}

// pool opens sessions of their own name.
func pool(t *testing.T, d *dbtest.Database) *pgxpool.Pool {
	t.Helper()
	p, err := db.Open(t.Context(), db.Config{URL: d.URL, Name: "otto"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func listen(t *testing.T, d *dbtest.Database, known *pgxpool.Pool) *listening {
	t.Helper()
	l := &listening{Wakeups: db.NewWakeups(), t: t, d: d, woken: map[string]<-chan struct{}{}}
	l.Know(known)
	for _, topic := range []string{db.TopicReady, db.TopicAbort, db.TopicEvent, db.TopicLog} {
		l.woken[topic], _ = l.Subscribe(topic)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); l.Listen(ctx, d.URL) }()
	t.Cleanup(func() { cancel(); <-ended })
	for _, c := range l.woken { // each connection begins with a look
		<-c
	}
	return l
}

// wake says as sessions of a pool that there is something, and afterwards as somebody else that there is a log.
func (l *listening) wake(as *pgxpool.Pool, topic string) {
	l.t.Helper()
	name := ""
	if err := as.QueryRow(l.t.Context(), "select current_setting('application_name')").Scan(&name); err != nil {
		l.t.Fatal(err)
	}
	for _, c := range []struct{ name, topic string }{{name, topic}, {"psql", db.TopicLog}} {
		err := pgx.BeginFunc(l.t.Context(), l.d.Owner, func(tx pgx.Tx) error {
			_, err := tx.Exec(l.t.Context(), "select set_config('application_name', $1, true), otto.wake($2)", c.name, c.topic)
			return err
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// heard says whether a topic was woken before the log was.
func (l *listening) heard(topic string) bool {
	l.t.Helper()
	select {
	case <-l.woken[db.TopicLog]:
	case <-time.After(20 * time.Second):
		l.t.Fatal("nothing is heard any more")
	}
	select {
	case <-l.woken[topic]:
		return true
	default:
		return false
	}
}

// What a process does itself it need not hear of, where that makes it look for work; what others do it hears.
func TestEcho(t *testing.T) {
	t.Parallel()
	d := dbtest.Open(t)
	own, other := pool(t, d), pool(t, d)
	l := listen(t, d, own)
	for _, topic := range []string{db.TopicReady, db.TopicAbort, db.TopicEvent} {
		l.wake(other, topic)
		if !l.heard(topic) {
			t.Errorf("%s of another was not heard", topic)
		}
		l.wake(own, topic)
		if heard := l.heard(topic); heard != (topic == db.TopicEvent) {
			t.Errorf("%s of its own: heard %t", topic, heard)
		}
	}
}

// Transactions of one application share a wake-up; those of two do not, for one of them may not be heard.
func TestWakeIsShared(t *testing.T) {
	t.Parallel()
	d := dbtest.Open(t)
	own, other := pool(t, d), pool(t, d)
	l := listen(t, d, own)
	name := own.Config().ConnConfig.RuntimeParams["application_name"]
	begin := func() pgx.Tx {
		tx, err := d.Owner.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "select set_config('application_name', $1, true), otto.wake('ready')", name); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	first := begin() // holds the wake-up of its application
	defer first.Rollback(context.Background())
	l.wake(other, db.TopicReady)
	if !l.heard(db.TopicReady) {
		t.Error("the wake-up of another was not heard, though only ours was under way")
	}
}
