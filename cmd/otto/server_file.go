package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ottoci/otto/client"
)

// serverFile tells other commands of this machine about the server that runs on a data directory. It is there exactly
// as long as the server takes requests, save for a kill -9.
type serverFile struct {
	URL     string `json:"url"`
	Token   string `json:"token"`
	PID     int    `json:"pid"`
	Private bool   `json:"private"` // it ends once nobody uses it
}

const serverFileName = "server.json"

// published is a server file in place. Those who use the server hold a shared lock on it: a private server takes the
// exclusive one before it ends, and so never leaves under somebody's feet.
type published struct {
	path string
	file *os.File
}

// publish puts the file in place. Only the holder of the data directory's lock may.
func publish(dir string, content serverFile) (*published, error) {
	body, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, ".server-*") // mode 0600: it holds a token
	if err != nil {
		return nil, fmt.Errorf("write the server file: %w", err)
	}
	p := &published{path: filepath.Join(dir, serverFileName), file: file}
	_, err = file.Write(append(body, '\n'))
	if err = errors.Join(err, os.Rename(file.Name(), p.path)); err != nil {
		return nil, errors.Join(fmt.Errorf("write the server file: %w", err), file.Close(), os.Remove(file.Name()))
	}
	return p, nil
}

// closeToUsers says whether nobody uses the server; if so, nobody can begin to until reopen.
func (p *published) closeToUsers() bool {
	return syscall.Flock(int(p.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

func (p *published) reopen() { _ = syscall.Flock(int(p.file.Fd()), syscall.LOCK_UN) }

// withdraw removes the file. Whoever has it open finds that it is no longer the one in place.
func (p *published) withdraw() {
	_ = os.Remove(p.path)
	_ = p.file.Close()
}

// attachment is the use of a server found by its file.
type attachment struct {
	serverFile
	file *os.File
}

func (u *attachment) release() { _ = u.file.Close() }

// attach finds the living server of a data directory; nil if there is none.
func attach(ctx context.Context, dir string) (*attachment, error) {
	path := filepath.Join(dir, serverFileName)
	file, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, withHint(err, "use your own data directory: OTTO_DATA_DIR or --data-dir")
	}
	u := &attachment{file: file}
	if !u.use(path) || !alive(ctx, u.URL) {
		u.release()
		return nil, nil
	}
	return u, nil
}

// use takes the shared lock and reads the file, unless its server is about to end.
func (u *attachment) use(path string) bool {
	if syscall.Flock(int(u.file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil {
		return false
	}
	opened, err := u.file.Stat()
	if err != nil {
		return false
	}
	inPlace, err := os.Stat(path)
	if err != nil || !os.SameFile(opened, inPlace) {
		return false
	}
	body, err := io.ReadAll(u.file)
	return err == nil && json.Unmarshal(body, &u.serverFile) == nil
}

// alive says whether a server answers at an address. The file of one that was killed names a port that is anybody's.
func alive(ctx context.Context, url string) bool {
	c, err := client.New(client.Config{URL: url})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err = c.HealthShow(ctx)
	return err == nil
}

// lockDir makes a data directory this process's own until the file is closed. The directory itself is locked, so that
// no lock file stays behind. It answers errBusy when another process has it.
func lockDir(dir string) (*os.File, error) {
	held, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = held.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errBusy
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return held, nil
}

var errBusy = errors.New("the data directory is in use")
