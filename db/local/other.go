//go:build !linux

package local

import (
	"context"
	"fmt"
)

// Server is a running Postgres; only Linux has one.
type Server struct{}

// Start refuses: a server that surely dies with its starter needs a signal only Linux has.
func Start(context.Context, Config) (*Server, error) {
	return nil, fmt.Errorf("%w: set OTTO_DATABASE_URL to a PostgreSQL server, 15 or newer", ErrUnsupported)
}

// URL is empty.
func (*Server) URL() string { return "" }

// SocketDir is empty.
func (*Server) SocketDir() string { return "" }

// Done is never closed.
func (*Server) Done() <-chan struct{} { return nil }

// Err is nil.
func (*Server) Err() error { return nil }

// Pid is 0.
func (*Server) Pid() int { return 0 }

// Stop does nothing.
func (*Server) Stop() {}
