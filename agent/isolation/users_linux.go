package isolation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// UserRange is where the users of tasks are taken from when nobody says otherwise: beyond what distributions, containers and
// virtual machines hand out.
const (
	FirstUser = 1_900_000_000
	userCount = 1024
)

// runDir is where agents of one machine meet.
const runDir = "/run/otto"

// Prepare makes the places on this machine at which tasks find what is theirs.
func Prepare() error {
	for _, dir := range []string{runDir, Home, filepath.Join(runDir, "users")} {
		// Whatever the mask says, tasks of other users have to find the way.
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o755)); err != nil { //nolint:gosec // see above
			return fmt.Errorf("make the place for tasks: %w", err)
		}
	}
	f, err := os.OpenFile(relayPlace, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("make the place for tasks: %w", err)
	}
	return f.Close()
}

// User is a user that one task has for as long as it runs, on the whole machine: other agents take others.
type User struct {
	ID   int
	lock *os.File // the kernel lets go of it when the agent dies
}

// TakeUser takes the first free user from first on.
func TakeUser(first int) (*User, error) {
	for id := first; id < first+userCount; id++ {
		lock, err := os.OpenFile(filepath.Join(runDir, "users", strconv.Itoa(id)), os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("take a user: %w", err)
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &User{ID: id, lock: lock}, nil
		}
		_ = lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("take a user: %w", err)
		}
	}
	return nil, fmt.Errorf("no user of %d to %d is free", first, first+userCount-1)
}

// Release gives the user back. Nothing of it may run any more.
func (u *User) Release() { _ = u.lock.Close() }

// As does something with files as this user, in this goroutine and none that it starts: what it makes is the user's, and
// what the user may not open it may not either.
func (u *User) As(do func() error) (err error) {
	runtime.LockOSThread()
	// The calls give what was before, and no error: whether they worked is seen by asking again.
	unix.SetfsgidRetGid(u.ID) //nolint:errcheck // see above
	unix.SetfsuidRetUid(u.ID) //nolint:errcheck // see above
	if now, _ := unix.SetfsuidRetUid(-1); now != u.ID {
		err = fmt.Errorf("become user %d: not permitted", u.ID)
	} else {
		err = do()
	}
	unix.SetfsuidRetUid(os.Getuid()) //nolint:errcheck // see above
	unix.SetfsgidRetGid(os.Getgid()) //nolint:errcheck // see above
	if now, _ := unix.SetfsuidRetUid(-1); now == os.Getuid() {
		runtime.UnlockOSThread() // else the thread ends with the goroutine
	}
	return err
}

// passwdName is the machine's list of users and the task's, in the task's directory: programs such as ssh refuse to work for
// somebody without a name.
const passwdName = "passwd"

// Furnish gives a task's directory what its user needs there. The directory itself stays the agent's: the task may look and
// go into it, and change nothing of it.
func (u *User) Furnish(dir string, own ...string) error {
	users, err := os.ReadFile("/etc/passwd")
	if err == nil {
		line := fmt.Sprintf("otto-task:x:%d:%d:Otto:%s/home:/bin/sh\n", u.ID, u.ID, Home)
		at := filepath.Join(dir, passwdName)
		err = errors.Join(os.WriteFile(at, append(users, line...), 0o644), os.Chmod(at, 0o644)) //nolint:gosec // everybody may read it
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("name the task's user: %w", err)
	}
	for _, name := range own {
		if err := os.Lchown(filepath.Join(dir, name), u.ID, u.ID); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("give the task its directory: %w", err)
		}
	}
	if err := os.Lchown(dir, -1, u.ID); err != nil {
		return fmt.Errorf("give the task its directory: %w", err)
	}
	return os.Chmod(dir, 0o750)
}

// Give gives the user a directory with all that is in it. Nobody else may be at work there.
func (u *User) Give(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("give the task its files: %w", err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, root.Lchown(name, u.ID, u.ID))
	})
	if err != nil {
		return fmt.Errorf("give the task its files: %w", err)
	}
	return nil
}

// Share lets the user read a file of the agent's.
func (u *User) Share(path string) error {
	return errors.Join(os.Lchown(path, -1, u.ID), os.Chmod(path, 0o640)) //nolint:gosec // for its group, which is the task
}

// ListenEgress gives the socket of the proxy for a task. Its path may be longer than an address can be, so it is made by way
// of its directory.
func ListenEgress(dir string, uid int) (net.Listener, error) {
	at, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("make the proxy's socket: %w", err)
	}
	defer at.Close()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "unix", fmt.Sprintf("/proc/self/fd/%d/%s", at.Fd(), proxyName)) // it waits for nothing
	if err != nil {
		return nil, fmt.Errorf("make the proxy's socket: %w", err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false) // by then that number may be another directory
	path := filepath.Join(dir, proxyName)
	if uid != 0 {
		err = os.Lchown(path, uid, uid)
	}
	if err = errors.Join(err, os.Chmod(path, 0o600)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}
