// Package dbtest gives every test a Postgres database of its own, migrated, in about 11 ms.
//
// The server is TEST_DATABASE_URL if that is set, else one of this test process on local binaries, else a container.
// A process's own server dies with it, so no TestMain is needed.
package dbtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/migrations"
)

const (
	appConns      = 10
	ownerConns    = 4
	closePatience = 10 * time.Second
)

// Database is one test's own.
type Database struct {
	URL   string        // as the server's superuser
	App   *pgxpool.Pool // as otto_app, like a server or worker
	Owner *pgxpool.Pool // as the superuser, to arrange rows that no transition makes
	clock clock
}

// the is this process's server and template: made once, by the first test that asks.
var the = sync.OnceValues(prepare)

// serial numbers this process's databases.
var serial atomic.Int64

// New makes a database and gives a pool whose role is otto_app.
func New(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Open(t).App
}

// URL makes a database and gives its connection string, as superuser.
func URL(t testing.TB) string {
	t.Helper()
	return Open(t).URL
}

// Open makes a migrated database for this test alone.
func Open(t testing.TB) *Database {
	t.Helper()
	server, err := the()
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	return server.open(t, server.template)
}

// Empty makes a database without any schema and gives its connection string, for tests of the migrations.
func Empty(t testing.TB) string {
	t.Helper()
	server, err := the()
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	return server.clone(t, "template1")
}

// open clones a template and opens both pools.
func (s *server) open(t testing.TB, template string) *Database {
	t.Helper()
	db := &Database{URL: s.clone(t, template)}
	db.Owner = openPool(t, db.URL, "", ownerConns)
	db.App = openPool(t, db.URL, migrations.App, appConns)
	return db
}

// clone makes a database. On a server of our own it is never dropped: that costs more than the clone, and the
// server's folder goes as a whole.
func (s *server) clone(t testing.TB, template string) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%d_%d", os.Getpid(), s.born.UnixNano(), serial.Add(1))
	ctx := context.WithoutCancel(t.Context())
	create := "create database " + name + " template " + template + " strategy file_copy"
	if _, err := s.admin.Exec(ctx, create); err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	if !s.own {
		t.Cleanup(func() {
			if _, err := s.admin.Exec(ctx, "drop database if exists "+name+" with (force)"); err != nil {
				t.Errorf("dbtest: %v", err)
			}
		})
	}
	return withDatabase(s.url, name)
}

func openPool(t testing.TB, url, role string, conns int32) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	config.MaxConns = conns
	if role != "" {
		config.ConnConfig.RuntimeParams["role"] = role
	}
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(t.Context()), config)
	if err != nil {
		t.Fatalf("dbtest: %v", err)
	}
	t.Cleanup(func() { closePool(t, pool) })
	return pool
}

// closePool closes the pool, which waits for every connection; one that is never given back fails the test instead
// of hanging it.
func closePool(t testing.TB, pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closePatience):
		t.Errorf("dbtest: %d connections were not given back", pool.Stat().AcquiredConns())
	}
}

// withDatabase is the connection string of another database of the same server.
func withDatabase(server, name string) string {
	parsed, err := url.Parse(server)
	if err != nil {
		panic(err) // it has connected before
	}
	parsed.Path = "/" + name
	return parsed.String()
}

// identifier quotes a name for SQL.
func identifier(name string) string { return pgx.Identifier{name}.Sanitize() }
