package dbtest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/db/dbtest"
)

func TestOpen(t *testing.T) {
	t.Parallel()
	db := dbtest.Open(t)
	begun := time.Now()
	other := dbtest.Open(t)
	t.Logf("a clone took %v", time.Since(begun))

	var app, owner string
	must(t, db.App.QueryRow(t.Context(), "select current_user").Scan(&app))
	must(t, db.Owner.QueryRow(t.Context(), "select rolsuper::text from pg_roles where rolname = current_user").Scan(&owner))
	if app != "otto_app" || owner != "true" {
		t.Errorf("App is %s, Owner is superuser: %s", app, owner)
	}
	_, err := db.Owner.Exec(t.Context(), "create table mine (n int)")
	must(t, err)
	if _, err := other.Owner.Exec(t.Context(), "select from mine"); err == nil {
		t.Error("two tests share a database")
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), dbtest.Empty(t))
	must(t, err)
	defer conn.Close(t.Context())
	var tables int
	must(t, conn.QueryRow(t.Context(), "select count(*) from pg_tables where schemaname = 'public'").Scan(&tables))
	if tables != 0 {
		t.Errorf("%d tables in an empty database", tables)
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	db, other := dbtest.Open(t), dbtest.Open(t)
	dbtest.AdvanceClock(t, db, time.Hour)
	dbtest.AdvanceClock(t, db, 30*time.Minute)
	if ahead := time.Until(clock(t, db)); ahead < 89*time.Minute || ahead > 91*time.Minute {
		t.Errorf("the clock is %v ahead, want 1h30m", ahead)
	}
	if ahead := time.Until(clock(t, other)); ahead.Abs() > time.Minute {
		t.Errorf("the clock of another database is %v ahead", ahead)
	}
	at := time.Date(2031, 3, 4, 5, 6, 7, 8000, time.UTC)
	dbtest.SetClock(t, db, at)
	if got := clock(t, db); !got.Equal(at) {
		t.Errorf("the clock says %v, want %v", got, at)
	}
	dbtest.AdvanceClock(t, db, -time.Hour)
	if got := clock(t, db); !got.Equal(at.Add(-time.Hour)) {
		t.Errorf("the stopped clock says %v, want %v", got, at.Add(-time.Hour))
	}
}

// Several test processes share the server of TEST_DATABASE_URL: one makes the template, each drops its databases.
func TestSharedServer(t *testing.T) {
	t.Parallel()
	shared := dbtest.Empty(t)
	const processes = 3
	done := make(chan error, processes)
	for range processes {
		cmd := exec.Command(os.Args[0], "-test.run", "^(TestOpen|TestClock|TestEmpty)$", "-test.v")
		cmd.Env = append(os.Environ(), "TEST_DATABASE_URL="+shared)
		go func() {
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOpen") {
				done <- fmt.Errorf("%w: %s", err, out)
				return
			}
			done <- nil
		}()
	}
	for range processes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	conn, err := pgx.Connect(t.Context(), shared)
	must(t, err)
	defer conn.Close(t.Context())
	// This process's own databases are named for it.
	var left int
	mine := fmt.Sprintf("t%d\\_%%", os.Getpid())
	must(t, conn.QueryRow(t.Context(), `select count(*) from pg_database where datname like 't%\_%\_%' escape '\' and datname not like $1
		and datname not like 'template%'`, mine).Scan(&left))
	if left != 0 {
		t.Errorf("%d databases were left on the shared server", left)
	}
}

// A test process that is killed leaves neither server nor folder.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestWaitToBeKilled$")
	cmd.Env = append(os.Environ(), "OTTO_DBTEST_WAIT=1", "TEST_DATABASE_URL=")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	url := strings.TrimSpace(line)
	config, err := pgx.ParseConfig(url)
	must(t, err)
	if !filepath.IsAbs(config.Host) {
		t.Skip("the server is in a container")
	}
	must(t, cmd.Process.Kill())
	cmd.Wait()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(config.Host); os.IsNotExist(err) {
			break
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s is still there", config.Host)
		}
	}
}

// The garbage collector must not take away what keeps the server's folder.
func TestServerOutlivesGarbage(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(dbtest.URL(t))
	must(t, err)
	if !filepath.IsAbs(config.Host) {
		t.Skip("the server is not of this process")
	}
	for range 3 {
		runtime.GC()
	}
	// The sweeper is a shell whose cat waits for our end; after that it has other children, or none.
	sweeper := childOf(t, os.Getpid(), "--full", "^/bin/sh .*"+config.Host)
	if waiting := childOf(t, sweeper, "--exact", "cat"); waiting == 0 {
		t.Error("the sweeper has begun")
	}
}

// childOf finds a child of a process; 0 when there is none.
func childOf(t *testing.T, parent int, filter ...string) (pid int) {
	t.Helper()
	path, err := exec.LookPath("pgrep")
	must(t, err)
	out, _ := exec.Command(path, append([]string{"--oldest", "--parent", strconv.Itoa(parent)}, filter...)...).Output()
	pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
	return pid
}

// TestWaitToBeKilled is the other process of TestKilledProcess.
func TestWaitToBeKilled(t *testing.T) {
	if os.Getenv("OTTO_DBTEST_WAIT") == "" {
		return
	}
	fmt.Println(dbtest.Empty(t))
	select {}
}

func TestMain(m *testing.M) { dbtest.Main(m) }

func clock(t *testing.T, db *dbtest.Database) (at time.Time) {
	t.Helper()
	must(t, db.App.QueryRow(t.Context(), "select otto.clock()").Scan(&at))
	return at
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
