//go:build linux

package local

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestStart(t *testing.T) {
	t.Parallel()

	t.Run("keeps_data_over_a_stop", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		first := start(t, cfg)
		query(t, first, "create table kept (n int)")
		first.Stop()
		first.Stop()
		mustBeGone(t, first)

		begun := time.Now()
		second := start(t, cfg)
		t.Logf("second start took %v", time.Since(begun))
		query(t, second, "select n from kept")
	})

	t.Run("keeps_two_servers_apart", func(t *testing.T) {
		t.Parallel()
		one, two := start(t, config(t)), start(t, config(t))
		query(t, one, "create table here (n int)")
		query(t, two, "create table here (n int)")
	})

	t.Run("survives_a_killed_postmaster", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		cfg.Durable = true
		first := start(t, cfg)
		query(t, first, "create table kept (n int)")
		kill(t, first.Pid())
		within(t, first.Done())
		if err := first.Err(); err == nil || !strings.Contains(err.Error(), "ended by itself: signal: killed") {
			t.Errorf("Err() = %v", err)
		}
		first.Stop()
		if first.Err() == nil {
			t.Error("Stop made the crash forgotten")
		}
		query(t, start(t, cfg), "select n from kept")
	})

	t.Run("says_why_a_server_did_not_start", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		cfg.Settings = map[string]string{"shared_buffers": "much"}
		server, err := Start(t.Context(), cfg)
		if err == nil {
			server.Stop()
			t.Fatal("started")
		}
		if !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "much"`) {
			t.Errorf("Start: %v", err)
		}
		cfg.Settings = nil
		start(t, cfg) // nothing is held, nothing is broken
	})

	t.Run("removes_an_unfinished_cluster", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		half := filepath.Join(cfg.Dir, newPrefix+"1")
		must(t, os.MkdirAll(half, privateMode))
		start(t, cfg)
		if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", half, err)
		}
	})

	t.Run("ignores_a_pid_file_of_another_process", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		start(t, cfg).Stop()
		// A living process that runs as Postgres' own user, but is no server of this cluster.
		owner, err := chooseAccount()
		must(t, err)
		other := exec.Command("sleep", "60")
		other.SysProcAttr = owner.attributes(0)
		must(t, other.Start())
		t.Cleanup(func() { other.Process.Kill(); other.Wait() })
		file := filepath.Join(cfg.Dir, dataName, pidFile)
		must(t, os.WriteFile(file, []byte(strconv.Itoa(other.Process.Pid)+"\n"), 0o600))
		must(t, owner.own(file))
		start(t, cfg)
	})

	t.Run("puts_a_big_log_aside", func(t *testing.T) {
		t.Parallel()
		cfg := config(t)
		start(t, cfg).Stop()
		must(t, os.Truncate(filepath.Join(cfg.Dir, logName), maxLog+1))
		start(t, cfg)
		if info, err := os.Stat(filepath.Join(cfg.Dir, oldLogName)); err != nil || info.Size() <= maxLog {
			t.Errorf("old log: %v, %v", info, err)
		}
	})
}

// A second Otto whose first was killed waits for the first one's server, which is still shutting down.
func TestStartAfterKilledOtto(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	otto, pid := startElsewhere(t, cfg)
	kill(t, otto.Process.Pid)
	otto.Wait()
	query(t, start(t, cfg), "select 1")
	mustEnd(t, pid)
}

// However Otto ends, no server of its stays.
func TestServerDiesWithOtto(t *testing.T) {
	t.Parallel()
	otto, pid := startElsewhere(t, config(t))
	kill(t, otto.Process.Pid)
	otto.Wait()
	mustEnd(t, pid)
}

func TestStop(t *testing.T) {
	t.Parallel()
	server := start(t, config(t))
	conn, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	defer conn.Close(t.Context())
	server.Stop() // must not wait for the connection
	if err := server.Err(); err != nil {
		t.Errorf("Err() after Stop = %v", err)
	}
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("OTTO_LOCAL_TEST_DIR"); dir != "" {
		serveForParent(dir)
	}
	os.Exit(m.Run())
}

// config is a server in a directory the server's user can reach; as root, t.TempDir is not always one.
func config(t *testing.T) Config {
	t.Helper()
	place := os.TempDir()
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		place = "/dev/shm" // a cluster is 40 MB to write
	}
	base, err := os.MkdirTemp(place, "otto-local-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(base) })
	must(t, os.Chmod(base, passableMode))
	return Config{Dir: filepath.Join(base, "pg"), InitCache: filepath.Join(place, "otto-initdb-"+strconv.Itoa(os.Geteuid()))}
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	server, err := Start(t.Context(), cfg)
	must(t, err)
	t.Cleanup(server.Stop)
	return server
}

func query(t *testing.T, server *Server, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGKILL))
}

func within(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
	}
}

// mustBeGone checks that a stopped server has left neither process nor socket.
func mustBeGone(t *testing.T, server *Server) {
	t.Helper()
	within(t, server.Done())
	if _, err := os.Stat(server.SocketDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket's folder is still there: %v", err)
	}
	if left := residents(server.dir.data()); len(left) > 0 {
		t.Errorf("processes %v are still there", left)
	}
}

// mustEnd waits for a process that is not our child. A zombie nobody has collected counts as ended.
func mustEnd(t *testing.T, pid int) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for alive(pid) {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("process %d is still there", pid)
		}
	}
}

func alive(pid int) bool {
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd")
	return err == nil
}
