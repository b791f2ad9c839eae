package agent

import (
	"os"

	"golang.org/x/sys/unix"
)

// handle says when a process ends.
type handle struct {
	pidfd *os.File
	ready chan struct{} // closed when the process has ended, when it cannot be told, and by close
}

// handleOf takes over a pidfd, which is negative on a kernel without them. It is waited for like a socket, by the
// runtime's poller.
func handleOf(pidfd int) *handle {
	h := &handle{ready: make(chan struct{})}
	if pidfd < 0 {
		close(h.ready)
		return h
	}
	_ = unix.SetNonblock(pidfd, true) // or the poller does not take it, and the channel is closed at once
	h.pidfd = os.NewFile(uintptr(pidfd), "process")
	go h.wait()
	return h
}

func (h *handle) wait() {
	defer close(h.ready)
	raw, err := h.pidfd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0 || err != nil
	})
}

// close returns when the descriptor is closed.
func (h *handle) close() {
	if h.pidfd != nil {
		_ = h.pidfd.Close()
		<-h.ready
	}
}
