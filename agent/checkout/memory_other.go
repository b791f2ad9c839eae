//go:build !linux

package checkout

import (
	"errors"
	"os"
)

// An agent runs on Linux only.
func memoryFile(string) (*os.File, error) { return nil, errors.New("files in memory need Linux") }
