package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/ottoci/otto/db/dbtest"
	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/migrations"
)

func TestRoles(t *testing.T) {
	t.Parallel()
	db := dbtest.Open(t)
	for name, query := range map[string]string{
		"no_login":      "select count(*) from pg_roles where rolname in ('otto_owner', 'otto_app') and not rolcanlogin",
		"three_schemas": "select count(*) - 1 from pg_namespace where nspname in ('otto', 'otto_api', 'river') and nspowner = 'otto_owner'::regrole",
	} {
		if n := count(t, db, query); n != 2 {
			t.Errorf("%s: %d, want 2", name, n)
		}
	}
	for name, query := range map[string]string{
		"relations_of_another_owner": `select count(*) from pg_class where relowner <> 'otto_owner'::regrole
			and relnamespace in ('public'::regnamespace, 'otto_api'::regnamespace, 'river'::regnamespace)`,
		"functions_of_another_owner": "select count(*) from pg_proc where pronamespace = 'otto'::regnamespace and proowner <> 'otto_owner'::regrole",
		"functions_for_everybody": `select count(*) from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
			where pronamespace = 'otto'::regnamespace and a.grantee = 0`,
		"functions_not_for_app": `select count(*) from pg_proc where pronamespace in ('otto'::regnamespace, 'otto_api'::regnamespace)
			and not has_function_privilege('otto_app', oid, 'execute')`,
		"relations_not_readable": `select count(*) from pg_class where relkind in ('r', 'p', 'v') and not relispartition
			and relnamespace in ('public'::regnamespace, 'otto_api'::regnamespace) and not has_table_privilege('otto_app', oid, 'select')`,
	} {
		if n := count(t, db, query); n != 0 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

func TestAppIsConfined(t *testing.T) {
	t.Parallel()
	db := dbtest.Open(t)
	for _, sql := range []string{
		"create table mine (n int)", "create table otto.mine (n int)", "create schema mine", "create function mine() returns int language sql as 'select 1'",
		"drop function otto.clock()", "update otto_meta set value = 'x'", "delete from otto_migrations", "create role mine",
	} {
		if _, err := db.App.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("%s: %v, want a refusal", sql, err)
		}
	}
	// The test's login is a superuser and could take any role, so this one cannot be tried.
	if n := count(t, db, "select pg_has_role('otto_app', 'otto_owner', 'member')::int"); n != 0 {
		t.Error("otto_app is a member of otto_owner")
	}
	if _, err := db.App.Exec(t.Context(), "insert into river.river_job (kind, args, max_attempts) values ('test', '{}', 1)"); err != nil {
		t.Error(err)
	}
}

// A login without the rights is told what an administrator must run; after that it can migrate.
func TestUpTellsTheAdministrator(t *testing.T) {
	t.Parallel()
	server := startTrusting(t)
	admin := connect(t, server)
	exec(t, admin, `create role "Ana B" login`)
	exec(t, admin, "create database ci")
	ci := at(t, server, "Ana B", "ci")

	_, err := migrations.Up(t.Context(), ci)
	if err == nil || !strings.Contains(err.Error(), "as Ana B") || !strings.Contains(err.Error(), "an administrator must run once") {
		t.Fatalf("Up: %v", err)
	}
	_, told, _ := strings.Cut(err.Error(), "\n\n")
	want := []string{"create role otto_owner nologin", "create role otto_app nologin", `grant otto_owner to "Ana B"`, `grant otto_app to "Ana B"`,
		"grant create on database ci to otto_owner", "grant usage, create on schema public to otto_owner"}
	if got := strings.Split(strings.TrimSuffix(strings.TrimSpace(told), ";"), ";\n    "); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("told to run %q, want %q", got, want)
	}
	adminOfCI := connect(t, at(t, server, "postgres", "ci"))
	for statement := range strings.SplitSeq(strings.TrimSpace(told), "\n") {
		exec(t, adminOfCI, statement)
	}
	up(t, ci)
	mustBe(t, ci, migrations.Current)
}

// Roles belong to the cluster: eight processes that migrate eight databases race for them.
func TestRolesInEightDatabases(t *testing.T) {
	t.Parallel()
	server := startTrusting(t)
	admin := connect(t, server)
	var wg sync.WaitGroup
	for i := range 8 {
		name := fmt.Sprintf("ci%d", i)
		exec(t, admin, "create database "+name)
		exec(t, admin, fmt.Sprintf("create role login%d login superuser", i))
		login := at(t, server, fmt.Sprintf("login%d", i), name)
		wg.Go(func() {
			if _, err := migrations.Up(context.WithoutCancel(t.Context()), login); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
}

func TestUpRefusesAnOldServer(t *testing.T) {
	t.Parallel()
	old := fakeServer(t, "14.9 (Debian 14.9-1)")
	for name, act := range map[string]func() error{
		"Up":    func() error { _, err := migrations.Up(t.Context(), old); return err },
		"Check": func() error { _, err := migrations.Check(t.Context(), old); return err },
	} {
		err := act()
		if !errors.Is(err, migrations.ErrOldServer) || !strings.Contains(err.Error(), "it is version 14.9 (Debian 14.9-1), otto needs 15 or newer") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// fakeServer greets like a Postgres of that version, and can do nothing else.
func fakeServer(t *testing.T, version string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go greet(conn, version)
		}
	}()
	return fmt.Sprintf("postgres://otto@%s/otto?sslmode=disable", listener.Addr())
}

func greet(conn net.Conn, version string) {
	defer conn.Close()
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: version})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if backend.Flush() == nil {
		backend.Receive()
	}
}

// at is a server's URL for another login and database.
func at(t *testing.T, server, login, database string) string {
	t.Helper()
	parsed, err := url.Parse(server)
	must(t, err)
	parsed.User, parsed.Path = url.User(login), "/"+database
	return parsed.String()
}

// startTrusting starts a server of the test's own, without roles of ours, that believes every login's name.
func startTrusting(t *testing.T) string {
	t.Helper()
	base, err := os.MkdirTemp(dbtest.Place(), "otto-migrations-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	must(t, os.Chmod(base, 0o755)) // for the server's user
	rules := filepath.Join(base, "hba.conf")
	must(t, os.WriteFile(rules, []byte("local all all trust\n"), 0o644))
	server, err := local.Start(t.Context(), local.Config{
		Dir:       filepath.Join(base, "pg"),
		InitCache: dbtest.InitCache(),
		Settings:  map[string]string{"hba_file": rules},
	})
	must(t, err)
	t.Cleanup(server.Stop)
	return server.URL()
}
