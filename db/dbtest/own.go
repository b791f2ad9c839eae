package dbtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ottoci/otto/db/local"
)

const (
	memory    = "/dev/shm"
	dirPrefix = "otto-test-"
	enough    = 1 << 30     // bytes; containers often get only 64 MB of shared memory
	settled   = time.Minute // a younger folder may still be about to be locked
)

// startOwn starts a server for this process, in memory where the system offers that.
func startOwn(ctx context.Context) (*server, error) {
	place := Place()
	sweep(place)
	dir, err := os.MkdirTemp(place, dirPrefix)
	if err != nil {
		return nil, err
	}
	running, err := local.Start(ctx, local.Config{
		Dir:       dir,
		Bin:       os.Getenv("OTTO_PG_BIN"),
		InitCache: InitCache(),
		Settings: map[string]string{
			"max_connections":           "300",
			"shared_buffers":            "64MB",
			"max_wal_size":              "2GB", // no checkpoints but those of the clones
			"autovacuum":                "off",
			"log_min_messages":          "fatal",
			"log_min_error_statement":   "panic", // refusals are what tests provoke
			"max_worker_processes":      "2",
			"max_parallel_workers":      "0",
			"max_locks_per_transaction": "128",
			"jit":                       "off",
			"track_io_timing":           "off",
		},
	})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	alive, err := afterUs(removeDirs, dir, running.SocketDir())
	if err != nil {
		running.Stop()
		os.RemoveAll(dir)
		return nil, err
	}
	stop := func() {
		running.Stop()
		os.RemoveAll(dir)
	}
	return &server{url: running.URL(), own: true, stop: stop, alive: alive}, nil
}

// Place is where test servers keep their data: memory where the system offers enough, else the disk.
func Place() string {
	if roomy(memory) {
		return memory
	}
	return os.TempDir()
}

// InitCache is the folder of fresh clusters that all test processes of this user copy (local.Config).
func InitCache() string { return filepath.Join(Place(), fmt.Sprintf("otto-initdb-%d", os.Geteuid())) }

// roomy says whether the folder is there and has room for a hundred databases.
func roomy(dir string) bool {
	var stat syscall.Statfs_t
	return syscall.Statfs(dir, &stat) == nil && stat.Bavail*uint64(stat.Bsize) >= enough
}

// removeDirs is what is left to do after our end: wait for the server, which dies with us, and remove its folders. A
// hundred clones are a gigabyte of memory.
const removeDirs = `n=0
while [ -e "$1/data/postmaster.pid" ] && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done
rm -rf "$1" "$2"`

// afterUs runs a script when this process has ended, however it ends: a shell waits for the end of a pipe whose
// other end only we hold. The caller must keep what it gets as long as the process lives: if nothing refers to our
// end of the pipe, the garbage collector closes it.
func afterUs(script string, args ...string) (io.Closer, error) {
	cmd := exec.Command("/bin/sh", append([]string{"-c", "cat\n" + script, "sh"}, args...)...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is not for it
	ours, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the sweeper: %w", err)
	}
	return ours, nil
}

// sweep removes the folders of processes that were killed together with their sweeper.
func sweep(place string) {
	dirs, _ := filepath.Glob(filepath.Join(place, dirPrefix+"*")) // the pattern is well formed
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < settled {
			continue
		}
		if held, err := os.Open(dir); err == nil {
			if syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				os.RemoveAll(dir)
			}
			held.Close()
		}
	}
}
