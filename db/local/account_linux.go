package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// account is the operating system user the server runs as. Postgres refuses to be root, so root steps down.
type account struct {
	name     string
	uid, gid int
	dropped  bool // Otto is root, the server is not
}

// chooseAccount is our own user, or for root `postgres`, or `nobody`.
func chooseAccount() (account, error) {
	if os.Geteuid() != 0 {
		return lookup(strconv.Itoa(os.Geteuid()), user.LookupId)
	}
	for _, name := range []string{"postgres", "nobody"} {
		if found, err := lookup(name, user.Lookup); err == nil {
			found.dropped = true
			return found, nil
		}
	}
	return account{}, errors.New("Postgres refuses to run as root, and neither user postgres nor nobody exists: " +
		"make one (useradd --system postgres), or run otto as an ordinary user")
}

func lookup(key string, by func(string) (*user.User, error)) (account, error) {
	found, err := by(key)
	if err != nil {
		return account{}, fmt.Errorf("find the user to run Postgres as: %w: Postgres needs an entry in /etc/passwd", err)
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user %s has the id %q: %w", key, found.Uid, err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return account{}, fmt.Errorf("user %s has the group id %q: %w", key, found.Gid, err)
	}
	return account{name: found.Username, uid: uid, gid: gid}, nil
}

// attributes make a child that runs as the account and gets the signal when the thread that started it ends.
func (a account) attributes(onDeath syscall.Signal) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onDeath}
	if a.dropped {
		attr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attr
}

// own gives a path of ours to the account.
func (a account) own(path string) error {
	if !a.dropped {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// run runs a short program as the account; what it said becomes part of the error.
func (a account) run(ctx context.Context, dir, name string, args ...string) error {
	// A child's death signal follows the thread, so the thread must live as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, environment(), a.attributes(syscall.SIGKILL)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(name), err, bytes.TrimSpace(out))
	}
	return nil
}

// environment is all that Postgres gets of ours: its PG… variables would change the socket's name and the data, and
// our secrets are none of its business.
func environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
}

// blockedAt is the first folder on the way to path, path itself included, that the account may not enter; empty when
// there is none. Only a user we dropped to can be blocked by folders we ourselves have passed.
func (a account) blockedAt(path string) (string, error) {
	if !a.dropped {
		return "", nil
	}
	for _, dir := range ancestry(path) {
		info, err := os.Stat(dir)
		if err != nil {
			return "", err
		}
		if !a.mayEnter(info) {
			return dir, nil
		}
	}
	return "", nil
}

func (a account) mayEnter(info os.FileInfo) bool {
	stat := info.Sys().(*syscall.Stat_t)
	switch {
	case int(stat.Uid) == a.uid:
		return info.Mode()&0o100 != 0
	case int(stat.Gid) == a.gid:
		return info.Mode()&0o010 != 0
	}
	return info.Mode()&0o001 != 0
}

// ancestry is the path's folders from the root down to the path itself.
func ancestry(path string) []string {
	var dirs []string
	for ; ; path = filepath.Dir(path) {
		dirs = append([]string{path}, dirs...)
		if path == filepath.Dir(path) {
			return dirs
		}
	}
}
