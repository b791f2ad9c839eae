//go:build !linux

package orchestrator

import "syscall"

// dieWithParent cannot be had here: after a kill -9 of the orchestrator its agents go on until they are stopped by hand.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
