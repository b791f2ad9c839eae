// Package local runs a private Postgres for one Otto process.
//
// The server listens on a Unix socket only, in a folder that only its own user may enter, and lets in exactly one
// operating system user: the one Otto runs as. The kernel vouches for that user (peer authentication), so no
// password exists. The server dies with the process that started it, however that process ends.
package local

import (
	"errors"
	"log/slog"
	"path/filepath"
)

// Config describes one server. The zero value of everything but Dir works.
type Config struct {
	Dir       string            // where the server keeps its data and log; made if missing, kept afterwards
	Bin       string            // folder of initdb and postgres; empty looks for them (Find)
	Durable   bool              // survives a power cut; off is faster and for tests only
	Settings  map[string]string // Postgres settings beside ours
	InitCache string            // folder that keeps fresh clusters to copy instead of making each anew; for tests
	Log       *slog.Logger      // nil is silent
}

// Refusals of Start and Find. Their text says what was found and what to do.
var (
	ErrNoBinaries  = errors.New("no PostgreSQL found")
	ErrUnsupported = errors.New("the embedded Postgres runs on Linux only")
	ErrInUse       = errors.New("the data directory is in use")
	ErrForeign     = errors.New("the directory holds something else")
	ErrVersion     = errors.New("the data directory is of another PostgreSQL version")
	ErrOwner       = errors.New("the data directory belongs to another user")
	ErrNotDir      = errors.New("the data directory's path is not a directory")
	ErrNotWritable = errors.New("the data directory is not writable")
	ErrUnreachable = errors.New("the server's user cannot reach the directory")
	ErrSocketPath  = errors.New("the socket's path is too long")
)

// DefaultDataDir is where a person's or a machine's Otto keeps its data. It takes the values of the environment it
// needs, and answers "" when there is no home. Root's own home is closed to the user the server drops to.
func DefaultDataDir(euid int, xdgDataHome, home string) string {
	switch {
	case euid == 0:
		return "/var/lib/otto"
	case filepath.IsAbs(xdgDataHome): // the specification says to ignore relative paths
		return filepath.Join(xdgDataHome, "otto")
	case home != "":
		return filepath.Join(home, ".local", "share", "otto")
	}
	return ""
}
