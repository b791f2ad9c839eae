//go:build !linux

package main

import "syscall"

// attributes keep the terminal's Ctrl-C from a process, which we stop ourselves.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
