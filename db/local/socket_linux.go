package local

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	socketPrefix  = "otto-pg-"
	port          = "5432"      // part of the socket's name
	longestSocket = 107         // bytes the kernel takes
	settled       = time.Minute // younger socket folders may still be about to be locked
	databaseName  = "otto"
	socketName    = ".s.PGSQL." + port
)

// socket is the folder of the server's socket and of the two files that say who may use it.
type socket struct {
	dir  string
	held *os.File // its lock says that the folder's server is alive
}

// newSocket makes the folder in the first of the places that the server's user can enter and where the socket's path is
// short enough. A task of an agent has a TMPDIR that is closed to other users.
func newSocket(owner account) (*socket, error) {
	for _, place := range []string{os.TempDir(), "/tmp"} {
		if blocked, err := owner.blockedAt(place); err != nil || blocked != "" {
			continue
		}
		sweepSockets(place, owner)
		dir, err := os.MkdirTemp(place, socketPrefix) // mode 0700
		if err != nil {
			return nil, fmt.Errorf("make a folder for the socket: %w", err)
		}
		if len(filepath.Join(dir, socketName)) > longestSocket {
			os.Remove(dir)
			continue
		}
		return openSocket(dir, owner)
	}
	return nil, fmt.Errorf("%w: %s/%s…/%s has more than %d bytes, or is closed to the server's user: set TMPDIR to another path",
		ErrSocketPath, os.TempDir(), socketPrefix, socketName, longestSocket)
}

func openSocket(dir string, owner account) (*socket, error) {
	held, err := lock(dir)
	if err != nil {
		return nil, err
	}
	s := &socket{dir: dir, held: held}
	if err := s.write(owner); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// write says who may connect: this process's user, and nobody else. The files are made anew for every server, so a
// cluster keeps no memory of whose it was.
func (s *socket) write(owner account) error {
	me, err := user.LookupId(strconv.Itoa(os.Geteuid()))
	if err != nil {
		return fmt.Errorf("find our own user: %w", err)
	}
	files := map[string]string{
		s.hba():   "local all all peer map=otto\n",
		s.ident(): fmt.Sprintf("otto %q %s\n", me.Username, superuser),
	}
	for path, content := range files {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return fmt.Errorf("write the server's access rules: %w", err)
		}
		if err := owner.own(path); err != nil {
			return err
		}
	}
	return owner.own(s.dir)
}

func (s *socket) hba() string   { return filepath.Join(s.dir, "hba.conf") }
func (s *socket) ident() string { return filepath.Join(s.dir, "ident.conf") }

// url is complete, so that no PG… variable of the environment can change its meaning.
func (s *socket) url(database string) string {
	query := url.Values{"host": {s.dir}, "port": {port}, "sslmode": {"disable"}}
	return (&url.URL{Scheme: "postgres", User: url.User(superuser), Host: "", Path: "/" + database, RawQuery: query.Encode()}).String()
}

func (s *socket) remove() {
	os.RemoveAll(s.dir)
	unlock(s.held)
}

// sweepSockets removes the folders of servers whose Otto was killed. Only folders of our own users count: the place
// is open to all. It is a courtesy; what cannot be removed stays.
func sweepSockets(place string, owner account) {
	dirs, _ := filepath.Glob(filepath.Join(place, socketPrefix+"*")) // the pattern is well formed
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < settled {
			continue
		}
		if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid != owner.uid && uid != os.Geteuid() {
			continue
		}
		if held, err := lock(dir); err == nil {
			os.RemoveAll(dir)
			unlock(held)
		} else if !errors.Is(err, ErrInUse) {
			continue
		}
	}
}
