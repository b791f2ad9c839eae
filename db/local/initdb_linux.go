package local

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// superuser is who Otto's operating system user is to the database; nobody else may be it. It is not called otto:
// then "$user" in the search path would be schema otto, and what a person creates in psql would go at the next migrate.
const superuser = "postgres"

// initialise makes the cluster beside its place and then moves it there: a start that is interrupted leaves no half
// cluster, only a folder the next start removes.
func (d *directory) initialise(ctx context.Context, cfg Config, bins Binaries, owner account) error {
	if err := d.sweep(); err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(d.path, newPrefix)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotWritable, err)
	}
	if err := owner.own(fresh); err != nil {
		return fmt.Errorf("%w: %w", ErrNotWritable, err)
	}
	if err := fill(ctx, fresh, cfg, bins, owner); err != nil {
		os.RemoveAll(fresh)
		return fmt.Errorf("make the database cluster in %s: %w", d.path, err)
	}
	if err := os.Rename(fresh, d.data()); err != nil {
		return fmt.Errorf("put the database cluster in place: %w", err)
	}
	d.major = bins.Major
	return d.held.Sync() // the rename, too, must survive a power cut
}

// sweep removes what interrupted starts have left. Nobody else can be at it: we hold the lock.
func (d *directory) sweep() error {
	left, _ := filepath.Glob(filepath.Join(d.path, newPrefix+"*")) // the pattern is well formed
	for _, path := range left {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove an unfinished cluster: %w", err)
		}
	}
	return nil
}

// fill makes a cluster in an empty folder, or copies one from the cache.
func fill(ctx context.Context, fresh string, cfg Config, bins Binaries, owner account) error {
	if cfg.InitCache == "" || !trusted(cfg.InitCache) {
		return initdb(ctx, fresh, cfg.Durable, bins, owner)
	}
	cached := filepath.Join(cfg.InitCache, cacheKey(bins, owner))
	err := owner.run(ctx, fresh, "cp", "-a", cached+"/.", fresh)
	if err == nil {
		return nil
	}
	if _, missing := os.Stat(cached); !errors.Is(missing, fs.ErrNotExist) {
		return err
	}
	if err := initdb(ctx, fresh, cfg.Durable, bins, owner); err != nil {
		return err
	}
	return publish(ctx, fresh, cached, owner)
}

// trusted says whether nobody else can have put a cluster into the cache, which may lie in a place open to all.
func trusted(cache string) bool {
	info, err := os.Lstat(cache)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	return err == nil && info.IsDir() && int(info.Sys().(*syscall.Stat_t).Uid) == os.Geteuid() && info.Mode()&0o022 == 0
}

// cacheKey tells apart clusters that cannot stand in for each other.
func cacheKey(bins Binaries, owner account) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %s", bins.Dir, bins.Major, owner.uid, superuser))
	return fmt.Sprintf("initdb-%d-%x", bins.Major, sum[:6])
}

// publish copies a fresh cluster into the cache. Of several processes that do so at once the first wins.
func publish(ctx context.Context, fresh, cached string, owner account) error {
	if err := os.MkdirAll(filepath.Dir(cached), passableMode); err != nil {
		return fmt.Errorf("make the cache of fresh clusters: %w", err)
	}
	part, err := os.MkdirTemp(filepath.Dir(cached), "part-")
	if err != nil {
		return fmt.Errorf("write to the cache of fresh clusters: %w", err)
	}
	defer os.RemoveAll(part)
	if err := owner.own(part); err != nil {
		return err
	}
	if err := owner.run(ctx, fresh, "cp", "-a", fresh+"/.", part); err != nil {
		return err
	}
	if err := os.Rename(part, cached); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write to the cache of fresh clusters: %w", err)
	}
	return nil
}

func initdb(ctx context.Context, dir string, durable bool, bins Binaries, owner account) error {
	args := []string{"-D", dir, "-U", superuser, "--auth-local=peer", "--auth-host=reject", "-E", "UTF8", "--no-locale"}
	if !durable {
		args = append(args, "--no-sync")
	}
	return owner.run(ctx, dir, filepath.Join(bins.Dir, "initdb"), args...)
}

// reachable is the binaries, or where the account cannot enter their folder a copy it can.
func (d *directory) reachable(bins Binaries, owner account) (Binaries, error) {
	blocked, err := owner.blockedAt(bins.Dir)
	if err != nil || blocked == "" {
		return bins, err
	}
	root := filepath.Join(d.path, fmt.Sprintf("%s%d", binPrefix, bins.Major))
	copied := Binaries{Dir: filepath.Join(root, filepath.Base(bins.Dir)), Major: bins.Major}
	if _, err := os.Stat(filepath.Join(copied.Dir, "initdb")); err == nil {
		return copied, nil
	}
	part, err := os.MkdirTemp(d.path, newPrefix)
	if err != nil {
		return Binaries{}, fmt.Errorf("%w: %w", ErrNotWritable, err)
	}
	defer os.RemoveAll(part)
	if err := os.Chmod(part, passableMode); err != nil {
		return Binaries{}, err
	}
	if err := os.CopyFS(part, os.DirFS(filepath.Dir(bins.Dir))); err != nil {
		return Binaries{}, fmt.Errorf("copy the PostgreSQL programs, which %s may not enter at %s: %w", owner.name, blocked, err)
	}
	return copied, os.Rename(part, root)
}
