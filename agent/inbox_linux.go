package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// inbox is the keeper's end of the socket to the agent.
type inbox struct {
	link     syscall.RawConn
	messages chan delivery // closed when the agent is gone or makes no sense
	err      error         // why it is closed; io.EOF if the agent has closed it
	unread   []byte
	files    []int // that came with what is unread
}

// delivery is a message of the agent and the descriptors that came with it.
type delivery struct {
	message
	files []int
}

// openInbox takes over a socket. It waits through the runtime's poller: a thread that waits in a system call keeps the
// runtime's watchdog awake, which costs more than a step's keeper has to do.
func openInbox(fd int) (*inbox, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	link, err := os.NewFile(uintptr(fd), "agent").SyscallConn()
	if err != nil {
		return nil, err
	}
	return &inbox{link: link, messages: make(chan delivery, 1)}, nil
}

// listen passes on what the agent says until there is nothing more to come.
func (in *inbox) listen() {
	defer close(in.messages)
	buffer := make([]byte, 16<<10)
	for in.err == nil {
		if in.err = in.receive(buffer); in.err == nil {
			in.err = in.deliver()
		}
	}
}

// receive waits for a piece of a message.
func (in *inbox) receive(buffer []byte) (err error) {
	var n, controls int
	control := make([]byte, unix.CmsgSpace(4*len(outputKinds)))
	waited := in.link.Read(func(fd uintptr) bool {
		n, controls, _, _, err = unix.Recvmsg(int(fd), buffer, control, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	switch {
	case waited != nil:
		return waited
	case err != nil:
		return fmt.Errorf("receive from the agent: %w", err)
	case n == 0:
		return io.EOF
	}
	in.unread = append(in.unread, buffer[:n]...)
	messages, err := unix.ParseSocketControlMessage(control[:controls])
	if err != nil {
		return fmt.Errorf("receive from the agent: %w", err)
	}
	for _, m := range messages {
		files, err := unix.ParseUnixRights(&m)
		if err != nil {
			return fmt.Errorf("receive from the agent: %w", err)
		}
		in.files = append(in.files, files...)
	}
	return nil
}

// deliver passes on the messages that have come whole.
func (in *inbox) deliver() error {
	for {
		line, rest, whole := bytes.Cut(in.unread, []byte{'\n'})
		if !whole {
			return nil
		}
		var d delivery
		if err := json.Unmarshal(line, &d.message); err != nil {
			return err
		}
		if in.unread = rest; len(rest) == 0 {
			in.unread = nil // a large job must not stay
		}
		if d.Job != nil { // orders come without
			d.files, in.files = in.files, nil
		}
		in.messages <- d
	}
}

// answer sends the report of a step.
func (in *inbox) answer(report ending) error {
	line, err := json.Marshal(report)
	if err != nil {
		return err
	}
	for line = append(line, '\n'); len(line) > 0 && err == nil; {
		var n int
		waited := in.link.Write(func(fd uintptr) bool {
			n, err = unix.SendmsgN(int(fd), line, nil, nil, unix.MSG_NOSIGNAL)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
		if err == nil {
			err = waited
		}
		line = line[max(n, 0):]
	}
	return err
}

func closeFiles(files []int) {
	for _, fd := range files {
		_ = unix.Close(fd)
	}
}
