package main

import "syscall"

// attributes keep the terminal's Ctrl-C from a process, which we stop ourselves, and make it die with us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
