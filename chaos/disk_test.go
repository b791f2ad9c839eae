package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that is full takes no byte, and takes them again afterwards. Where small file systems cannot be mounted, the
// harness must find that out by itself and leave the faults out.
func TestDisk(t *testing.T) {
	t.Parallel()
	f := &fleet{dir: t.TempDir()}
	all, err := newDisks(t.Context(), f)
	if err != nil {
		if os.Geteuid() == 0 && !strings.Contains(err.Error(), "denied") && !strings.Contains(err.Error(), "not permitted") {
			t.Errorf("root may mount, and yet: %v", err)
		}
		if err := fillDisk(t.Context(), &fleet{noDisks: err}, "store", 0); !errors.Is(err, errLeftOut) {
			t.Errorf("a disk that is not there was filled: %v", err)
		}
		return
	}
	t.Cleanup(func() {
		if err := unmount(t.Context(), all); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(all["agent-1"].path, "file")
	write := func() error { return os.WriteFile(file, make([]byte, 8<<10), 0o600) }
	if err := all["agent-1"].fillWhile(func() {
		if err := write(); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("the full disk took a file: %v", err)
		}
	}); err != nil {
		t.Error(err)
	}
	if err := write(); err != nil {
		t.Errorf("the disk is not free again: %v", err)
	}
}
