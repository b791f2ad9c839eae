package migrations

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

// versionTable is where goose keeps the applied versions. It is not goose's default name, so that a database of
// another program that also uses goose is never taken for ours.
const versionTable = "otto_migrations"

// Result says what Up did.
type Result struct {
	From, To int64 // schema version before and after
	Applied  int   // migrations that ran
	Rebuilt  bool  // the functions and views were made anew
}

// Up brings the database to this binary's schema and prepares its roles. Any number of processes may call it at once:
// one works, the others wait and find nothing to do. A schema newer than this binary is refused with ErrNewer.
func Up(ctx context.Context, databaseURL string) (Result, error) {
	conn, err := connect(ctx, databaseURL)
	if err != nil {
		return Result{}, err
	}
	// Closing the connection also gives up the lock.
	defer conn.Close(context.WithoutCancel(ctx))

	before, err := look(ctx, conn)
	if err != nil || before.ready() {
		return Result{From: before.Database, To: before.Database}, err
	}
	if err := acquire(ctx, conn); err != nil {
		return Result{}, err
	}
	if before, err = look(ctx, conn); err != nil || before.ready() {
		return Result{From: before.Database, To: before.Database}, err
	}
	return migrate(ctx, conn, before)
}

// migrate does the work of Up; the caller holds the lock.
func migrate(ctx context.Context, conn *pgx.Conn, before sight) (Result, error) {
	if err := prepare(ctx, conn); err != nil {
		return Result{}, err
	}
	applied, err := apply(ctx, conn.Config())
	if err != nil {
		return Result{}, err
	}
	if err := rebuild(ctx, conn); err != nil {
		return Result{}, err
	}
	return Result{From: before.Database, To: before.Binary, Applied: applied, Rebuilt: true}, nil
}

// apply runs the pending migrations as otto_owner and returns their number. Goose's own lock stays unused: ours
// also covers the roles and the rebuild, and is polled faster than once a second.
func apply(ctx context.Context, config *pgx.ConnConfig) (int, error) {
	config.RuntimeParams["role"] = Owner
	config.RuntimeParams["search_path"] = "public"
	config.RuntimeParams["statement_timeout"] = "0" // an index over a big table takes what it takes
	db := stdlib.OpenDB(*config)
	defer db.Close()

	provider, err := newProvider(db)
	if err != nil {
		return 0, fmt.Errorf("read the migrations: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return len(results), fmt.Errorf("migrate the schema: %w", err)
	}
	return len(results), nil
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	return goose.NewProvider(goose.DialectPostgres, db, FS,
		goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(riverMigrations()...),
	)
}
