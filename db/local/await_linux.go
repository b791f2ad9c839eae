package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	startPatience  = 5 * time.Minute // replaying the log of a long life takes minutes
	orphanPatience = 30 * time.Second
	poll           = 5 * time.Millisecond
	pidFile        = "postmaster.pid"
	tailBytes      = 2000
	cannotConnect  = "57P03" // starting up or shutting down
	noDatabase     = "3D000"
)

// await returns when the server takes connections, or has ended, or refuses for good.
func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		err := s.probe(ctx)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused) && refused.Code != cannotConnect:
			return fmt.Errorf("connect to the new database server: %w", err)
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the database server did not start: %s: %s", s.cmd.ProcessState, s.dir.logTail())
		case <-ctx.Done():
			return fmt.Errorf("wait for the database server: %w: %s", context.Cause(ctx), s.dir.logTail())
		case <-time.After(poll):
		}
	}
}

// probe connects once, and on a new cluster makes our database.
func (s *Server) probe(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.URL())
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == noDatabase {
		return s.createDatabase(ctx)
	}
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func (s *Server) createDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.socket.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "create database "+databaseName)
	return err
}

// awaitOrphans waits for the server of a killed Otto to finish its shutdown. We hold the directory's lock, so no
// living Otto owns it. Then it removes a pid file whose process is somebody else by now: Postgres, which only sees
// that the number is taken, would refuse to start, as it does in containers, where numbers repeat.
func (d *directory) awaitOrphans(ctx context.Context, log *slog.Logger) error {
	deadline := time.Now().Add(orphanPatience)
	for told := false; ; {
		pid, err := d.pidInFile()
		if err != nil || pid == 0 {
			return err
		}
		left := residents(d.data())
		if len(left) == 0 {
			return d.dropPidFile(pid)
		}
		if !told {
			log.InfoContext(ctx, "waiting for an earlier database server to end", "pids", left)
			told = true
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: a PostgreSQL server that is not otto's runs on %s (processes %v): stop it with pg_ctl stop -D %s",
				ErrInUse, d.data(), left, d.data())
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// pidInFile is the process that last ran the cluster and did not shut it down; 0 when there is none.
func (d *directory) pidInFile() (int, error) {
	content, err := os.ReadFile(filepath.Join(d.data(), pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the pid file: %w", err)
	}
	first, _, _ := strings.Cut(string(content), "\n")
	pid, _ := strconv.Atoi(first) // Postgres judges what makes no sense
	return pid, nil
}

// dropPidFile removes a pid file that names a living process which is not a server of this cluster.
func (d *directory) dropPidFile(pid int) error {
	if pid <= 0 || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return nil
	}
	if err := os.Remove(filepath.Join(d.data(), pidFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a stale pid file: %w", err)
	}
	return nil
}

// residents are the processes that work in the data directory: all of a Postgres server's do.
func residents(data string) []int {
	if real, err := filepath.EvalSymlinks(data); err == nil {
		data = real
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if at, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd")); err == nil && at == data {
			pids = append(pids, pid)
		}
	}
	return pids
}

// openLog opens the server's log for appending and puts a big one aside.
func (d *directory) openLog() (*os.File, error) {
	if info, err := os.Stat(d.log()); err == nil && info.Size() > maxLog {
		if err := os.Rename(d.log(), filepath.Join(d.path, oldLogName)); err != nil {
			return nil, fmt.Errorf("put the big log aside: %w", err)
		}
	}
	out, err := os.OpenFile(d.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the database server's log: %w", err)
	}
	return out, nil
}

// logTail is the end of the server's log, in whole lines, for error messages.
func (d *directory) logTail() string {
	content, err := os.ReadFile(d.log())
	if err != nil {
		return err.Error()
	}
	tail := content[max(0, len(content)-tailBytes):]
	if len(tail) < len(content) {
		_, rest, found := strings.Cut(string(tail), "\n")
		if found {
			return "\n" + rest
		}
	}
	return "\n" + string(tail)
}
