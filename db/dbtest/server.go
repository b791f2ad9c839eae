package dbtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/migrations"
)

// server is where this process's databases live.
type server struct {
	url      string
	admin    *pgxpool.Pool
	template string
	own      bool // this process alone uses it, and it goes with the process
	born     time.Time
	stop     func()
	alive    io.Closer // kept open, it says that this process lives (afterUs)
}

// Main runs the tests and then stops the server at once. It is optional: without it the server and its folder go
// when the process has ended.
func Main(m *testing.M) {
	code := m.Run()
	if server, err := the(); err == nil {
		server.admin.Close()
		server.stop()
	}
	os.Exit(code)
}

// prepare finds or starts a server and makes the template.
func prepare() (*server, error) {
	ctx := context.Background()
	s, err := choose(ctx)
	if err != nil {
		return nil, err
	}
	s.born = time.Now()
	if s.admin, err = pgxpool.New(ctx, s.url); err != nil {
		return nil, err
	}
	return s, s.makeTemplate(ctx)
}

// choose takes the server of the environment, or one of our own, or a container.
func choose(ctx context.Context) (*server, error) {
	if given := os.Getenv("TEST_DATABASE_URL"); given != "" {
		return &server{url: given, stop: func() {}}, nil
	}
	s, err := startOwn(ctx)
	if !errors.Is(err, local.ErrNoBinaries) && !errors.Is(err, local.ErrUnsupported) {
		return s, err
	}
	s, inContainer := startContainer(ctx)
	if inContainer != nil {
		return nil, fmt.Errorf("no database server: %w; and no container: %w", err, inContainer)
	}
	return s, nil
}

// makeTemplate migrates the database that tests are clones of. On a shared server the first process makes it, under
// a lock, and it stays: its name says exactly which schema it has.
func (s *server) makeTemplate(ctx context.Context) error {
	s.template = "otto_template_" + migrations.Fingerprint()[:16]
	return pgx.BeginFunc(ctx, s.admin, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock(hashtext($1))", s.template); err != nil {
			return err
		}
		var ready bool
		const isReady = "select exists (select from pg_database where datname = $1 and datistemplate)"
		if err := tx.QueryRow(ctx, isReady, s.template).Scan(&ready); err != nil || ready {
			return err
		}
		return s.fillTemplate(ctx)
	})
}

// fillTemplate runs beside the transaction that holds the lock, because databases are not made in transactions.
func (s *server) fillTemplate(ctx context.Context) error {
	name := identifier(s.template)
	if _, err := s.admin.Exec(ctx, "drop database if exists "+name+" with (force)"); err != nil {
		return err
	}
	if _, err := s.admin.Exec(ctx, "create database "+name); err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, withDatabase(s.url, s.template)); err != nil {
		return err
	}
	_, err := s.admin.Exec(ctx, "alter database "+name+" is_template true allow_connections false")
	return err
}
