package agent

import (
	"errors"
	"os"
	"time"

	"github.com/ottoci/otto/client"
)

// outputKinds are what a step's descriptors 1 and 2 are called in the log.
var outputKinds = [2]string{client.SegmentStdout, client.SegmentStderr}

// outlet reads one of a step's outputs.
type outlet struct {
	pipe *os.File
	take func([]byte) // set before copy
	done chan struct{}
}

const (
	// outletBytes is the size of one read: what a pipe holds by default.
	outletBytes = 64 << 10
	// firstBytes is the size until a read has been full: many steps write little, and most of them nothing to stderr.
	firstBytes = 4 << 10
)

func newOutlet(pipe *os.File) *outlet {
	return &outlet{pipe: pipe, done: make(chan struct{})}
}

// copy reads until the end of the pipe, or until finish.
func (o *outlet) copy() {
	defer close(o.done)
	defer o.pipe.Close()
	buffer := make([]byte, firstBytes)
	for {
		n, err := o.pipe.Read(buffer)
		if n > 0 {
			o.take(buffer[:n])
		}
		if n == firstBytes {
			buffer = make([]byte, outletBytes)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			o.rest(buffer)
			return
		}
		if err != nil {
			return
		}
	}
}

// finish takes what is in the pipe and returns. It does not wait for the pipe's end: should a process outside the step
// have got hold of it, that end may never come.
func (o *outlet) finish() {
	_ = o.pipe.SetReadDeadline(time.Unix(1, 0))
	<-o.done
}

// rest reads what the pipe holds without waiting for more, and no more than it can have held when the step ended.
func (o *outlet) rest(buffer []byte) {
	for left := pipeCapacity(o.pipe); left > 0; {
		n := readNow(o.pipe, buffer)
		if n <= 0 {
			return
		}
		o.take(buffer[:n])
		left -= n
	}
}
