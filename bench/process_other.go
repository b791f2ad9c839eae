//go:build !linux

package bench

import "syscall"

// attributes are empty: the embedded Postgres, and so the benchmark, needs Linux.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
