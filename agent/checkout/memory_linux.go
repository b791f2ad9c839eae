package checkout

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// memoryFile is a file on no disk, gone with the last process that has it open.
func memoryFile(content string) (*os.File, error) {
	fd, err := unix.MemfdCreate("otto", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "memory")
	if _, err := f.WriteString(content); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
