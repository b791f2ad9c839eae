package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// workDir is the directory in which an agent keeps everything:
//
//	<lease id>/workspace   where the steps of a task run
//	<lease id>/tmp         their TMPDIR, from S1 on also /tmp
//	<lease id>/home        from S1 on, their home
//	<lease id>/passwd      from S1 on, the users that they know
//	<lease id>/proxy       from S3 on, their way out
//	<lease id>/script      the script of the step that runs
//	<lease id>/output      the task's outputs, for its steps to append to
//	spool/<lease id>       the part of a log that the server does not have yet
//	cache/<digest>         source bundles
//	git/                   mirrors of repositories
//	tools.json             the tools of the host, and their versions
type workDir struct {
	path string
	lock *os.File // held for as long as the agent lives; the kernel lets go of it when the agent dies
}

// leaseName is what a lease's directory is called. Nothing else in the work directory is ever swept.
var leaseName = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// openWorkDir takes the directory for this agent alone and removes what a dead one left in it: its leases died with it.
func openWorkDir(ctx context.Context, cfg Config) (*workDir, error) {
	d := &workDir{path: cfg.WorkDir}
	for _, dir := range []string{d.path, d.spools(), d.cache()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the work directory: %w", err)
		}
	}
	lock, err := os.Open(d.path)
	if err != nil {
		return nil, fmt.Errorf("open the work directory: %w", err)
	}
	if err := lockFile(lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("work directory %s is used by another agent: %w", d.path, err)
	}
	d.lock = lock
	for _, dir := range []string{d.path, d.spools()} {
		if dir == d.path && cfg.KeepWorkspace {
			continue
		}
		if err := d.sweep(ctx, dir, cfg); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	return d, nil
}

func (d *workDir) sweep(ctx context.Context, dir string, cfg Config) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep the work directory: %w", err)
	}
	for _, entry := range entries {
		if !leaseName.MatchString(entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		err := removeTree(path)
		cfg.Log.WarnContext(ctx, "swept what a dead agent left", "path", path, "error", err)
	}
	return nil
}

func (d *workDir) spools() string            { return filepath.Join(d.path, "spool") }
func (d *workDir) cache() string             { return filepath.Join(d.path, "cache") }
func (d *workDir) git() string               { return filepath.Join(d.path, "git") }
func (d *workDir) tools() string             { return filepath.Join(d.path, "tools.json") }
func (d *workDir) spool(lease string) string { return filepath.Join(d.spools(), lease) }
func (d *workDir) task(lease string) string  { return filepath.Join(d.path, lease) }

// close lets go of the directory. Closing alone does not: a child that is just being started, by another part of the
// process, has the descriptor until its exec.
func (d *workDir) close() {
	_ = unlockFile(d.lock)
	_ = d.lock.Close()
}

// makeTask makes the directories of a task. One that is there already can only be left over from an earlier life of the
// agent.
func (d *workDir) makeTask(lease string) error {
	dir := d.task(lease)
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		if err := removeTree(dir); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(filepath.Join(dir, "workspace"), 0o700), os.Mkdir(filepath.Join(dir, "tmp"), 0o700))
}

// removeTask removes the directories of a task. Many tasks leave nothing in them, and then there is nothing to look for.
func (d *workDir) removeTask(lease string) error {
	dir := d.task(lease)
	for _, part := range []string{"script", "output", "passwd", "proxy", "tmp", "home", "workspace", ""} {
		if err := os.Remove(filepath.Join(dir, part)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removeTree(dir)
		}
	}
	return nil
}

// removeTree removes a directory whatever the modes in it: the module cache of Go, for one, is read-only. Links are
// removed, not followed.
func removeTree(path string) error {
	if err := os.RemoveAll(path); err == nil {
		return nil
	}
	root, err := os.OpenRoot(path)
	if errors.Is(err, fs.ErrPermission) && os.Chmod(path, 0o700) == nil { //nolint:gosec // our own directory
		root, err = os.OpenRoot(path)
	}
	if err == nil {
		_ = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, _ error) error {
			if entry != nil && entry.IsDir() {
				_ = root.Chmod(name, 0o700)
			}
			return nil
		})
		_ = root.Close()
	}
	return os.RemoveAll(path)
}
