//go:build linux

package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	const nobody = 65534
	for name, test := range map[string]struct {
		arrange func(t *testing.T, cfg *Config)
		want    error
		says    string
	}{
		"a_foreign_directory": {
			func(t *testing.T, cfg *Config) { write(t, cfg.Dir, "thesis.txt") }, ErrForeign, "contains thesis.txt",
		},
		"a_data_folder_that_is_no_cluster": {
			func(t *testing.T, cfg *Config) { write(t, cfg.Dir, "data/thesis.txt") }, ErrForeign, "has no PG_VERSION",
		},
		"a_bare_cluster": {
			func(t *testing.T, cfg *Config) { write(t, cfg.Dir, "PG_VERSION") }, ErrForeign, "contains PG_VERSION",
		},
		"a_file": {
			func(t *testing.T, cfg *Config) { write(t, filepath.Dir(cfg.Dir), filepath.Base(cfg.Dir)) }, ErrNotDir, "is a file",
		},
		"a_path_below_a_file": {
			func(t *testing.T, cfg *Config) {
				write(t, filepath.Dir(cfg.Dir), "file")
				cfg.Dir = filepath.Join(filepath.Dir(cfg.Dir), "file", "pg")
			}, ErrNotDir, "is a file",
		},
		"another_version": {
			func(t *testing.T, cfg *Config) { cluster(t, cfg.Dir, "12") }, ErrVersion, "is of version 12: install PostgreSQL 12",
		},
		"a_version_that_is_no_number": {
			func(t *testing.T, cfg *Config) { cluster(t, cfg.Dir, "new") }, ErrVersion, `says "new"`,
		},
		"another_users_cluster": {
			func(t *testing.T, cfg *Config) {
				needRoot(t)
				cluster(t, cfg.Dir, "15")
				must(t, os.Chown(filepath.Join(cfg.Dir, dataName), nobody, nobody))
			}, ErrOwner, "is nobody's, and Postgres would run as postgres",
		},
		"a_place_its_user_cannot_reach": {
			func(t *testing.T, cfg *Config) { needRoot(t); must(t, os.Chmod(filepath.Dir(cfg.Dir), 0o700)) },
			ErrUnreachable, "who may not enter",
		},
		"a_place_that_cannot_be_written": {
			func(_ *testing.T, cfg *Config) { cfg.Dir = "/proc/otto" }, ErrNotWritable, "mkdir /proc/otto",
		},
		"a_folder_without_programs": {
			func(t *testing.T, cfg *Config) { cfg.Bin = t.TempDir() }, ErrNoBinaries, "no such file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t)
			test.arrange(t, &cfg)
			server, err := Start(t.Context(), cfg)
			if err == nil {
				server.Stop()
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Start: %v\nwant %q with %q", err, test.want, test.says)
			}
		})
	}
}

func TestStartRefusesASecondUser(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	server := start(t, cfg)
	if _, err := Start(t.Context(), cfg); !errors.Is(err, ErrInUse) {
		t.Fatalf("Start: %v, want %v", err, ErrInUse)
	}
	server.Stop()
	start(t, cfg)
}

// Eight start at once; one gets the directory.
func TestStartHasOneWinner(t *testing.T) {
	t.Parallel()
	cfg := config(t)
	const contenders = 8
	servers, refusals := make(chan *Server, contenders), make(chan error, contenders)
	for range contenders {
		go func() {
			if server, err := Start(t.Context(), cfg); err != nil {
				refusals <- err
			} else {
				servers <- server
			}
		}()
	}
	for range contenders - 1 {
		if err := <-refusals; !errors.Is(err, ErrInUse) {
			t.Errorf("Start: %v, want %v", err, ErrInUse)
		}
	}
	(<-servers).Stop()
}

// The folder of a killed Otto's socket goes at the next start; that of a living one, and a young one, stay.
func TestSweepSockets(t *testing.T) {
	t.Parallel()
	owner, err := chooseAccount()
	must(t, err)
	place := t.TempDir()
	old := time.Now().Add(-time.Hour)
	make := func(name string, modified time.Time) string {
		dir := filepath.Join(place, socketPrefix+name)
		must(t, os.Mkdir(dir, privateMode))
		must(t, os.Chtimes(dir, modified, modified))
		return dir
	}
	dead, living, young := make("dead", old), make("living", old), make("young", time.Now())
	held, err := lock(living)
	must(t, err)
	defer held.Close()

	sweepSockets(place, owner)
	for dir, want := range map[string]bool{dead: false, living: true, young: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
}

// Programs in a folder the server's user may not enter are copied to where it may.
func TestUnreachableBinaries(t *testing.T) {
	t.Parallel()
	needRoot(t)
	found, err := Find("")
	must(t, err)
	cfg := config(t)
	closed := filepath.Join(filepath.Dir(cfg.Dir), "checkout")
	must(t, os.CopyFS(closed, os.DirFS(filepath.Dir(found.Dir))))
	must(t, os.Chmod(closed, privateMode))
	cfg.Bin = filepath.Join(closed, filepath.Base(found.Dir))
	start(t, cfg).Stop()
	start(t, cfg) // from the copy
	if blocked, err := (account{uid: 1, gid: 1, dropped: true}).blockedAt(closed); err != nil || blocked == "" {
		t.Errorf("nothing was in the way: %v", err)
	}
}

func TestSocketPath(t *testing.T) {
	owner, err := chooseAccount()
	must(t, err)
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	must(t, os.Mkdir(long, passableMode))
	t.Setenv("TMPDIR", long)
	socket, err := newSocket(owner)
	must(t, err)
	defer socket.remove()
	if strings.HasPrefix(socket.dir, long) {
		t.Errorf("socket in %s: its path is too long", socket.dir)
	}
}

// A task's TMPDIR is closed to other users, and so to the server of a root.
func TestSocketInClosedTempDir(t *testing.T) {
	needRoot(t)
	cfg := config(t)
	closed := filepath.Join(t.TempDir(), "tmp")
	must(t, os.Mkdir(closed, 0o700))
	t.Setenv("TMPDIR", closed)
	server := start(t, cfg)
	query(t, server, "select 1")
	if strings.HasPrefix(server.SocketDir(), closed) {
		t.Errorf("the socket is in %s", server.SocketDir())
	}
}

func TestDefaultDataDir(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		euid      int
		xdg, home string
		want      string
	}{
		{0, "/x", "/root", "/var/lib/otto"},
		{1000, "/x", "/home/ana", "/x/otto"},
		{1000, "relative", "/home/ana", "/home/ana/.local/share/otto"},
		{1000, "", "", ""},
	} {
		if got := DefaultDataDir(test.euid, test.xdg, test.home); got != test.want {
			t.Errorf("DefaultDataDir(%d, %q, %q) = %q, want %q", test.euid, test.xdg, test.home, got, test.want)
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can arrange this")
	}
}

// write puts a small file somewhere below dir.
func write(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), passableMode))
	must(t, os.WriteFile(path, []byte("x"), 0o600))
}

// cluster makes what looks like a cluster of a version.
func cluster(t *testing.T, dir, version string) {
	t.Helper()
	data := filepath.Join(dir, dataName)
	must(t, os.MkdirAll(data, privateMode))
	must(t, os.WriteFile(filepath.Join(data, versionName), []byte(version+"\n"), 0o600))
	owner, err := chooseAccount()
	must(t, err)
	must(t, owner.own(data))
	must(t, owner.own(dir))
}
