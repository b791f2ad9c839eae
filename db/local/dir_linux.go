package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Names inside Config.Dir.
const (
	dataName     = "data"
	newPrefix    = "data.new-" // an initdb that has not finished
	binPrefix    = "postgres-" // copied binaries
	logName      = "postgres.log"
	oldLogName   = "postgres.log.1"
	maxLog       = 10 << 20 // bytes; a bigger log is put aside at the next start
	versionName  = "PG_VERSION"
	ownName      = "lost+found" // of a file system's own root
	privateMode  = 0o700
	passableMode = 0o755
)

// directory is Config.Dir, ours alone until it is released.
type directory struct {
	path  string
	major int      // version of the cluster inside, 0 when there is none yet
	held  *os.File // carries the lock
}

func (d *directory) data() string { return filepath.Join(d.path, dataName) }
func (d *directory) log() string  { return filepath.Join(d.path, logName) }

// release gives up the lock. The kernel does the same when we die.
func (d *directory) release() { unlock(d.held) }

// claim makes the directory if need be, refuses what is not ours to use, and locks it.
func claim(path string, owner account) (*directory, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := makeDir(path, owner); err != nil {
		return nil, err
	}
	held, err := lock(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, errors.Join(checkOwner(path, owner), err)
	}
	if err != nil {
		return nil, err
	}
	dir := &directory{path: path, held: held}
	if err := dir.check(owner); err != nil {
		dir.release()
		return nil, err
	}
	return dir, nil
}

// makeDir makes the directory for the account alone, and its missing parents passable.
func makeDir(path string, owner account) error {
	for _, dir := range ancestry(path) {
		info, err := os.Stat(dir)
		switch {
		case err == nil && !info.IsDir():
			return fmt.Errorf("%w: %s is a file: name another directory, or move the file away", ErrNotDir, dir)
		case err == nil:
			continue
		case errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("%w: %w", ErrNotDir, err)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %w", ErrNotWritable, err)
		}
		mode := fs.FileMode(passableMode)
		if dir == path {
			mode = privateMode
		}
		if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%w: %w: give user %s the right, or name another directory", ErrNotWritable, err, owner.name)
		}
		if err := os.Chmod(dir, mode); err != nil { // the umask may have taken bits away
			return fmt.Errorf("%w: %w", ErrNotWritable, err)
		}
	}
	return nil
}

// lock takes the directory itself, so no lock file stays behind, and a killed holder holds nothing.
func lock(path string) (*os.File, error) {
	held, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return held, nil
	}
	held.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: another otto runs on %s: use that one (OTTO_URL), or stop it first", ErrInUse, path)
	}
	return nil, fmt.Errorf("lock %s: %w", path, err)
}

// unlock gives a lock up. Closing alone would leave it, for a moment, to a child that is being started elsewhere in
// this process: until its exec, it has all our files.
func unlock(held *os.File) {
	syscall.Flock(int(held.Fd()), syscall.LOCK_UN)
	held.Close()
}

// check looks at what is there, before anything is written.
func (d *directory) check(owner account) error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotWritable, err)
	}
	if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == dataName }) {
		if err := d.checkFresh(entries, owner); err != nil {
			return err
		}
	} else if err := d.checkCluster(owner); err != nil {
		return err
	}
	if err := syscall.Access(d.path, 0o3); err != nil { // write and enter
		return fmt.Errorf("%w: %s: %w", ErrNotWritable, d.path, err)
	}
	return d.checkWay(owner)
}

// checkFresh admits a directory with nothing in it but what a start of ours may have left, and takes it over.
func (d *directory) checkFresh(entries []fs.DirEntry, owner account) error {
	for _, entry := range entries {
		name := entry.Name()
		known := name == logName || name == oldLogName || name == ownName ||
			strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, binPrefix)
		if !known {
			return fmt.Errorf("%w: %s contains %s and no cluster of otto's: name an empty directory", ErrForeign, d.path, name)
		}
	}
	if err := owner.own(d.path); err != nil {
		return fmt.Errorf("%w: %w", ErrNotWritable, err)
	}
	return checkOwner(d.path, owner)
}

// checkCluster admits a cluster of the account's and learns its version.
func (d *directory) checkCluster(owner account) error {
	content, err := os.ReadFile(filepath.Join(d.data(), versionName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s has no %s, so it is no PostgreSQL cluster: move it away", ErrForeign, d.data(), versionName)
	case errors.Is(err, fs.ErrPermission):
		return errors.Join(checkOwner(d.data(), owner), err)
	case err != nil:
		return fmt.Errorf("read the cluster's version: %w", err)
	}
	version := strings.TrimSpace(string(content))
	if d.major, err = strconv.Atoi(version); err != nil {
		return fmt.Errorf("%w: %s/%s says %q", ErrVersion, d.data(), versionName, version)
	}
	return checkOwner(d.data(), owner)
}

// checkOwner refuses what another user owns: Postgres would too, with less to go by.
func checkOwner(path string, owner account) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	uid := int(info.Sys().(*syscall.Stat_t).Uid)
	if uid == owner.uid {
		return nil
	}
	name := strconv.Itoa(uid)
	if found, err := user.LookupId(name); err == nil {
		name = found.Username
	}
	return fmt.Errorf("%w: %s is %s's, and Postgres would run as %s: run otto as the user who made it, or as root: chown -R %s %s",
		ErrOwner, path, name, owner.name, owner.name, path)
}

// checkWay refuses a directory the account cannot enter.
func (d *directory) checkWay(owner account) error {
	blocked, err := owner.blockedAt(d.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	if blocked != "" {
		return fmt.Errorf("%w: Postgres runs as %s, who may not enter %s on the way to %s: name another directory, like %s",
			ErrUnreachable, owner.name, blocked, d.path, DefaultDataDir(0, "", ""))
	}
	return nil
}
