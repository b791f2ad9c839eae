package main

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// output is standard output. It remembers the first write that failed: views go on with what they show, but a command
// whose output is not complete has failed.
type output struct {
	file *os.File

	mu     sync.Mutex
	failed error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.file.Write(b)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.failed == nil {
			o.failed = err
		}
	}
	return n, err
}

// Fd tells whether it is a terminal.
func (o *output) Fd() uintptr { return o.file.Fd() }

// unwritten is the error of the first write that failed. A reader that went away is none: it has seen enough.
func (o *output) unwritten() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if errors.Is(o.failed, syscall.EPIPE) {
		return nil
	}
	return o.failed
}
