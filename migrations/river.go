package migrations

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// riverSchema is where River's tables live. 00001_meta.sql creates it.
const riverSchema = "river"

// riverTargets maps versions of our chain to versions of River's. Two steps, because Postgres refuses to use an enum
// value in the transaction that added it (55P04), and River adds one before version 5.
func riverTargets() map[int64]int { return map[int64]int{2: 4, 3: 8} }

// riverMigrations are River's own migrations as links of our chain.
func riverMigrations() []*goose.Migration {
	var all []*goose.Migration
	for version, target := range riverTargets() {
		up := &goose.GoFunc{RunDB: func(ctx context.Context, db *sql.DB) error { return riverUp(ctx, db, target) }}
		all = append(all, goose.NewGoMigration(version, up, nil))
	}
	return all
}

// riverUp brings River's tables to version target in one transaction. River speaks pgx only, hence the way down
// through database/sql to the pgx connection.
func riverUp(ctx context.Context, db *sql.DB, target int) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(nil), &rivermigrate.Config{Schema: riverSchema})
	if err != nil {
		return fmt.Errorf("read River's migrations: %w", err)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		return pgx.BeginFunc(ctx, driver.(*stdlib.Conn).Conn(), func(tx pgx.Tx) error {
			opts := &rivermigrate.MigrateOpts{TargetVersion: target}
			//nolint:staticcheck // two steps are the way to batch them, see the top of the file
			if _, err := migrator.MigrateTx(ctx, tx, rivermigrate.DirectionUp, opts); err != nil {
				return fmt.Errorf("migrate River to version %d: %w", target, err)
			}
			return nil
		})
	})
}
