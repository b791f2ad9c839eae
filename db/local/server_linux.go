package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	fastStop = 20 * time.Second // a fast shutdown writes a checkpoint; then connections are cut off
	hardStop = 10 * time.Second // an immediate shutdown kills its children after 5 s
)

// Server is a running Postgres of ours.
type Server struct {
	dir    *directory
	socket *socket
	cmd    *exec.Cmd
	log    *slog.Logger

	exited  chan struct{} // closed after cmd.Wait
	exitErr error         // of cmd.Wait; read after exited
	stop    sync.Once
	stopped chan struct{} // closed when Stop has begun
}

// Start brings up the server over cfg.Dir and returns when it takes connections. On an existing cluster that takes
// less than 0.1 s, unless there is a crash to recover from. The caller must Stop the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	owner, err := chooseAccount()
	if err != nil {
		return nil, err
	}
	dir, err := claim(cfg.Dir, owner)
	if err != nil {
		return nil, err
	}
	server, err := startIn(ctx, dir, cfg, owner)
	if err != nil {
		dir.release()
		return nil, err
	}
	return server, nil
}

// startIn is Start in a directory that is ours.
func startIn(ctx context.Context, dir *directory, cfg Config, owner account) (*Server, error) {
	bins, err := dir.binaries(cfg.Bin, owner)
	if err != nil {
		return nil, err
	}
	if dir.major == 0 {
		cfg.Log.InfoContext(ctx, "database cluster being made", "dir", dir.path, "version", bins.Major)
		if err := dir.initialise(ctx, cfg, bins, owner); err != nil {
			return nil, err
		}
	}
	if err := dir.awaitOrphans(ctx, cfg.Log); err != nil {
		return nil, err
	}
	socket, err := newSocket(owner)
	if err != nil {
		return nil, err
	}
	server := &Server{dir: dir, socket: socket, log: cfg.Log, exited: make(chan struct{}), stopped: make(chan struct{})}
	if err := server.launch(cfg, bins, owner); err != nil {
		socket.remove()
		return nil, err
	}
	if err := server.await(ctx); err != nil {
		server.shutDown()
		socket.remove()
		return nil, err
	}
	return server, nil
}

// binaries finds programs of the cluster's own version, or any if there is no cluster yet.
func (d *directory) binaries(bin string, owner account) (Binaries, error) {
	bins, err := findMajor(bin, d.major)
	if err != nil && d.major != 0 && errors.Is(err, ErrNoBinaries) {
		return bins, fmt.Errorf("%w: %s is of version %d: install PostgreSQL %d beside the others, or move the data with pg_upgrade: %w",
			ErrVersion, d.data(), d.major, d.major, err)
	}
	if err != nil {
		return bins, err
	}
	return d.reachable(bins, owner)
}

// launch starts the postmaster and whoever waits for it.
func (s *Server) launch(cfg Config, bins Binaries, owner account) error {
	out, err := s.dir.openLog()
	if err != nil {
		return err
	}
	defer out.Close()
	s.cmd = exec.Command(filepath.Join(bins.Dir, "postgres"), arguments(s.dir, s.socket, cfg, bins)...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.dir.path, environment(), out, out
	s.cmd.SysProcAttr = owner.attributes(syscall.SIGINT)
	started := make(chan error)
	go s.mind(started)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", s.cmd.Path, err)
	}
	return nil
}

// mind starts the postmaster and waits for its end, all on one thread of its own: the kernel sends a child its death
// signal when the thread that started it ends, and Go ends threads as it likes unless they are locked.
func (s *Server) mind(started chan<- error) {
	runtime.LockOSThread()
	err := s.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	s.exitErr = s.cmd.Wait()
	close(s.exited)
}

// arguments are the postmaster's. They win over the files in the data directory.
func arguments(dir *directory, socket *socket, cfg Config, bins Binaries) []string {
	settings := map[string]string{
		"listen_addresses":        "",
		"port":                    port,
		"unix_socket_directories": socket.dir,
		"unix_socket_permissions": "0700",
		"hba_file":                socket.hba(),
		"ident_file":              socket.ident(),
		"max_connections":         "100",
		"shared_buffers":          "128MB",
		"wal_level":               "minimal", // nobody replicates from a private server
		"max_wal_senders":         "0",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_lock_waits":          "on",
		"log_line_prefix":         "%m [%p] ",
	}
	if !cfg.Durable {
		maps.Copy(settings, map[string]string{"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"})
	}
	if hasStatements(bins) {
		settings["shared_preload_libraries"] = "pg_stat_statements"
	}
	maps.Copy(settings, cfg.Settings)
	args := []string{"-D", dir.data()}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// hasStatements says whether the library that counts statements is installed: naming one that is not stops a server.
func hasStatements(bins Binaries) bool {
	root := filepath.Dir(bins.Dir)
	for _, lib := range []string{"lib", "lib/postgresql", "lib64", "lib64/postgresql"} {
		if _, err := os.Stat(filepath.Join(root, lib, "pg_stat_statements.so")); err == nil {
			return true
		}
	}
	return false
}

// URL is the connection string of the database otto, as its superuser.
func (s *Server) URL() string { return s.socket.url(databaseName) }

// SocketDir is the folder of the server's socket.
func (s *Server) SocketDir() string { return s.socket.dir }

// Pid is the postmaster's process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Done is closed when the server has ended, by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.exited }

// Err says why the server ended by itself, with the end of its log; nil while it runs and after Stop.
func (s *Server) Err() error {
	select {
	case <-s.stopped:
		return nil
	default:
	}
	select {
	case <-s.exited:
		return fmt.Errorf("the database server ended by itself: %s: %s", s.cmd.ProcessState, s.dir.logTail())
	default:
		return nil
	}
}

// Stop ends the server and blocks until it is gone; connections are cut off. A second call waits for the first.
func (s *Server) Stop() {
	s.stop.Do(func() {
		if s.Err() == nil {
			close(s.stopped)
		}
		s.shutDown()
		s.socket.remove()
		s.dir.release()
	})
}

// shutDown asks for a fast shutdown, then an immediate one, then kills.
func (s *Server) shutDown() {
	for _, step := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGINT, fastStop}, {syscall.SIGQUIT, hardStop}} {
		s.cmd.Process.Signal(step.signal)
		select {
		case <-s.exited:
			return
		case <-time.After(step.patience):
			s.log.WarnContext(context.Background(), "database server still running", "signal", step.signal.String(), "waited", step.patience)
		}
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.exited
}
