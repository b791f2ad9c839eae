package orchestrator

import "syscall"

// dieWithParent makes a process die with us, however we die; a group of its own keeps the terminal's Ctrl-C from it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
