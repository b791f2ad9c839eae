package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// fifo is a named pipe through which a step says that it has come so far. The shell's own echo writes to it, so what is
// timed is the step's instruction, not the start of yet another program.
type fifo struct {
	path  string
	file  *os.File
	marks chan mark
	group sync.WaitGroup
}

// mark is a line that came through a fifo, and when.
type mark struct {
	word string
	at   time.Time
}

func newFifo(dir, name string) (*fifo, error) {
	path, err := makePipe(dir, name)
	if err != nil {
		return nil, err
	}
	f := &fifo{path: path, marks: make(chan mark, 1024)}
	// Open for writing as well, the pipe does not end when a step closes it.
	if f.file, err = os.OpenFile(f.path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	f.group.Go(func() {
		lines := bufio.NewScanner(f.file)
		for lines.Scan() {
			f.marks <- mark{lines.Text(), time.Now()}
		}
	})
	return f, nil
}

func makePipe(dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return "", fmt.Errorf("make pipe %s: %w", path, err)
	}
	return path, nil
}

// next waits for a line.
func (f *fifo) next(ctx context.Context) (mark, error) {
	select {
	case m := <-f.marks:
		return m, nil
	case <-ctx.Done():
		return mark{}, context.Cause(ctx)
	}
}

// say is a shell command that sends a word.
func (f *fifo) say(word string) string { return "echo " + word + " > " + f.path }

func (f *fifo) close() {
	_ = f.file.Close() // ends the reader
	f.group.Wait()
}

// watchEnd opens a pipe for reading before anybody writes. The function it gives blocks until all writers are gone: that
// is when the process that held it has died.
func watchEnd(path string) (wait func(context.Context) error, err error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		defer file.Close()
		release := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Now()) })
		defer release()
		_, err := io.Copy(io.Discard, file)
		return err
	}, nil
}
