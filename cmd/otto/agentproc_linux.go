package main

import "syscall"

// selfPath is this very program, even if its file has been replaced meanwhile.
const selfPath = "/proc/self/exe"

// agentAttributes make the agent die with us, however we die. It is killed, not asked: nobody is left to hear its last
// reports, and its keepers kill what it was running. The group of its own keeps the terminal's Ctrl-C from it: we say
// when it stops.
func agentAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
