package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/migrations"
)

func TestUp(t *testing.T) {
	t.Parallel()
	url := dbtest.Empty(t)
	mustBe(t, url, migrations.Behind)

	begun := time.Now()
	first := up(t, url)
	t.Logf("from empty: %v", time.Since(begun))
	if first.From != 0 || first.To == 0 || first.Applied < 3 || !first.Rebuilt {
		t.Errorf("first Up = %+v", first)
	}
	mustBe(t, url, migrations.Current)

	begun = time.Now()
	second := up(t, url)
	t.Logf("on a current database: %v", time.Since(begun))
	if want := (migrations.Result{From: first.To, To: first.To}); second != want {
		t.Errorf("second Up = %+v, want %+v", second, want)
	}
}

// Eight processes start at once; one migrates.
func TestUpHasOneWinner(t *testing.T) {
	t.Parallel()
	url := dbtest.Empty(t)
	results := make([]migrations.Result, 8)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			var err error
			if results[i], err = migrations.Up(context.WithoutCancel(t.Context()), url); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	winners := 0
	for _, result := range results {
		if result.Rebuilt {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d of 8 migrated: %+v", winners, results)
	}
}

func TestUpGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	url := dbtest.Empty(t)
	holder := connect(t, url)
	exec(t, holder, fmt.Sprintf("select pg_advisory_lock(%d)", migrations.LockKey))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := migrations.Up(ctx, url); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Up beside a busy process: %v", err)
	}
}

func TestUpRefusesANewerSchema(t *testing.T) {
	t.Parallel()
	db := dbtest.Open(t)
	_, err := db.Owner.Exec(t.Context(), "insert into otto_migrations (version_id, is_applied) values (99999, true)")
	must(t, err)
	before := count(t, db, "select count(*) from pg_proc where pronamespace = 'otto'::regnamespace")

	_, err = migrations.Up(t.Context(), db.URL)
	if !errors.Is(err, migrations.ErrNewer) || !strings.Contains(err.Error(), "it is at version 99999, this binary knows") {
		t.Errorf("Up: %v, want %v", err, migrations.ErrNewer)
	}
	mustBe(t, db.URL, migrations.Newer)
	if after := count(t, db, "select count(*) from pg_proc where pronamespace = 'otto'::regnamespace"); after != before {
		t.Errorf("%d functions, before %d", after, before)
	}
}

func TestCheckServer(t *testing.T) {
	t.Parallel()
	for version, old := range map[string]bool{
		"15.18 (Debian 15.18-0+deb12u1)": false, "18beta1": false, "17.2": false, "115": false,
		"14.9": true, "9.6.24": true, "": true, "unknown": true,
	} {
		if err := migrations.CheckServer(version); errors.Is(err, migrations.ErrOldServer) != old {
			t.Errorf("version %q: %v, want old: %v", version, err, old)
		}
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()

	t.Run("replaces_what_differs", func(t *testing.T) {
		t.Parallel()
		db := dbtest.Open(t)
		script(t, db, `drop function otto.clock() cascade; create function otto.intruder() returns int language sql as 'select 1'`)
		outdate(t, db)
		mustBe(t, db.URL, migrations.Behind)
		if got := up(t, db.URL); !got.Rebuilt || got.Applied != 0 {
			t.Errorf("Up = %+v", got)
		}
		if n := count(t, db, "select count(*) from pg_proc where proname in ('clock', 'intruder') and pronamespace = 'otto'::regnamespace"); n != 1 {
			t.Errorf("%d of clock and intruder are there, want clock alone", n)
		}
	})

	t.Run("finishes_what_was_interrupted", func(t *testing.T) {
		t.Parallel()
		db := dbtest.Open(t)
		script(t, db, "delete from otto_meta; drop schema otto_api cascade; drop schema otto cascade")
		up(t, db.URL)
		mustBe(t, db.URL, migrations.Current)
	})

	t.Run("refuses_to_drop_what_tables_need", func(t *testing.T) {
		t.Parallel()
		db := dbtest.Open(t)
		script(t, db, "create table bad (at timestamptz default otto.clock())")
		outdate(t, db)
		_, err := migrations.Up(t.Context(), db.URL)
		if err == nil || !strings.Contains(err.Error(), "it would drop default value for column at of table bad") {
			t.Errorf("Up: %v", err)
		}
		script(t, db, "insert into bad default values") // nothing has changed
	})

	t.Run("leaves_tables_of_others_alone", func(t *testing.T) {
		t.Parallel()
		url := dbtest.Empty(t)
		other := connect(t, url)
		exec(t, other, "create table goose_db_version (id int, version_id bigint, is_applied boolean)")
		exec(t, other, "insert into goose_db_version values (1, 77777, true)")
		up(t, url)
		exec(t, other, "set role otto_app")
		if _, err := other.Exec(t.Context(), "select from goose_db_version"); err == nil {
			t.Error("otto_app reads a table that is not otto's")
		}
	})

	t.Run("names_file_and_line_of_a_mistake", func(t *testing.T) {
		t.Parallel()
		tx, err := connect(t, dbtest.Empty(t)).Begin(t.Context())
		must(t, err)
		files := fstest.MapFS{
			"10_good.sql": {Data: []byte("select 1;\nselect 2;\n")},
			"20_bad.sql":  {Data: []byte("select 'grüße';\nselect 2;\n  select nothing;\n")},
		}
		err = migrations.ExecuteFiles(t.Context(), tx, files)
		if err == nil || !strings.HasPrefix(err.Error(), "transitions/20_bad.sql:3: ") {
			t.Errorf("ExecuteFiles: %v", err)
		}
	})
}

func up(t *testing.T, url string) migrations.Result {
	t.Helper()
	result, err := migrations.Up(t.Context(), url)
	must(t, err)
	return result
}

func mustBe(t *testing.T, url string, want migrations.State) {
	t.Helper()
	if got, err := migrations.Check(t.Context(), url); err != nil || got.State != want {
		t.Errorf("Check = %+v, %v, want %s", got, err, want)
	}
}

// outdate makes the schema look as if other SQL had built it.
func outdate(t *testing.T, db *dbtest.Database) {
	t.Helper()
	script(t, db, "update otto_meta set value = 'other' where key = 'fingerprint'")
}

// script runs SQL as the superuser.
func script(t *testing.T, db *dbtest.Database, sql string) {
	t.Helper()
	_, err := db.Owner.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	must(t, err)
}

func count(t *testing.T, db *dbtest.Database, query string) (n int) {
	t.Helper()
	must(t, db.Owner.QueryRow(t.Context(), query).Scan(&n))
	return n
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
