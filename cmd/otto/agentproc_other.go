//go:build !linux

package main

import "syscall"

// selfPath is empty: the embedded Postgres, and so the local server, needs Linux.
const selfPath = ""

func agentAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
