package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// disk is a small file system of its own, which can be filled without harm to the machine's.
type disk struct {
	path string // where it is mounted

	full sync.Mutex // held while it is
}

// Sizes of disks. Nothing is as large: a file system that nobody writes takes no room, and ballast is only promised.
const (
	agentDisk    = 48 << 20
	storeDisk    = 1 << 30
	databaseDisk = 1 << 30

	ballast = ".ballast" // the file that takes all room
)

// newDisks mounts a disk for each agent's work, the object store and the database. Without the right to mount there are
// none, and the error says why.
func newDisks(ctx context.Context, f *fleet) (map[string]*disk, error) {
	sizes := map[string]int64{"store": storeDisk, "postgres": databaseDisk}
	for _, name := range runners {
		sizes[name] = agentDisk
	}
	disks := map[string]*disk{}
	for name, size := range sizes {
		d, err := newDisk(ctx, filepath.Join(f.dir, name), size)
		if err != nil {
			return nil, errors.Join(err, unmount(ctx, disks))
		}
		disks[name] = d
	}
	return disks, nil
}

// newDisk mounts a file system: ext4 in a file, as real as it gets; or, where there are no loop devices, in memory.
func newDisk(ctx context.Context, path string, size int64) (*disk, error) {
	if err := os.Mkdir(path, 0o755); err != nil { //nolint:gosec // Postgres' own user must pass
		return nil, err
	}
	err := mountImage(ctx, path+".img", path, size)
	if err == nil {
		return &disk{path: path}, nil
	}
	inMemory := program(ctx, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0755", size), "otto-chaos", path)
	if inMemory == nil {
		return &disk{path: path}, nil
	}
	return nil, errors.Join(err, inMemory, os.Remove(path))
}

func mountImage(ctx context.Context, image, path string, size int64) error {
	file, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Truncate(size), file.Close()); err != nil {
		return err
	}
	if err := program(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", image); err != nil {
		return errors.Join(err, os.Remove(image))
	}
	if err := program(ctx, "mount", "-t", "ext4", "-o", "loop", image, path); err != nil {
		return errors.Join(err, os.Remove(image))
	}
	return os.Remove(filepath.Join(path, "lost+found"))
}

// program runs one of the system's; what it said becomes the error.
func program(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// fillWhile leaves no room while something else happens.
func (d *disk) fillWhile(during func()) error {
	if !d.full.TryLock() {
		return errors.New("it was full")
	}
	defer d.full.Unlock()
	path := filepath.Join(d.path, ballast)
	err := fill(path)
	during()
	return errors.Join(err, os.Remove(path))
}

// unmount takes disks away, even from a process that is left on them: that is judged elsewhere.
func unmount(ctx context.Context, disks map[string]*disk) error {
	var errs []error
	for _, d := range disks {
		errs = append(errs, program(context.WithoutCancel(ctx), "umount", "--lazy", d.path))
	}
	return errors.Join(errs...)
}
