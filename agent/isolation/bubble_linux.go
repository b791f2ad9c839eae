package isolation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Descriptors that bubblewrap reads and closes before the program starts. Its arguments go there too: in argv everybody on
// the machine could read them, and among them is the program's environment.
const (
	bubbleArguments = 3
	bubbleFilter    = 4
)

// boxed is a program that bubblewrap starts.
type boxed struct {
	Program
	open []int
}

func (b *boxed) close() {
	for _, fd := range b.open {
		_ = unix.Close(fd)
	}
}

// box wraps a program: bubblewrap makes its namespaces and starts it. Its own environment is empty, because the program can
// read it as that of its process 1.
func (c *Cell) box(p Program) (*boxed, error) {
	b := &boxed{}
	arguments, err := b.file("arguments", []byte(strings.Join(c.bubbleArguments(p), "\x00")+"\x00"))
	if err != nil {
		return b, err
	}
	filter, err := b.file("filter", filterProgram())
	if err != nil {
		return b, err
	}
	argv := []string{c.Bubble, "--args", strconv.Itoa(bubbleArguments), "--"}
	if c.Level >= S3 {
		argv = append(argv, relayPlace, RelayCommand)
	}
	b.Program = Program{Argv: append(argv, p.Argv...), Dir: "/", Env: []string{}, Files: append(append([]uintptr{}, p.Files...), uintptr(arguments), uintptr(filter))}
	return b, nil
}

// file gives a file in memory that holds these bytes.
func (b *boxed) file(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("make a file in memory: %w", err)
	}
	b.open = append(b.open, fd)
	for done := 0; done < len(content); {
		n, err := unix.Pwrite(fd, content[done:], int64(done))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return -1, fmt.Errorf("write a file in memory: %w", err)
		}
		done += max(n, 0)
	}
	return fd, nil
}

// bubbleArguments says what the program sees: the machine's files, but none that can be written and none of anybody's
// home, nor what is at run time; its own directory; its own processes.
func (c *Cell) bubbleArguments(p Program) []string {
	id := c.UID
	if id == 0 {
		id = os.Getuid()
	}
	out := []string{
		"--unshare-user", "--disable-userns", "--uid", strconv.Itoa(id), "--gid", strconv.Itoa(id),
		"--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "otto", "--die-with-parent",
		"--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/dev/shm",
	}
	if c.Level >= S3 {
		out = append(out, "--unshare-net")
	}
	source, tmp := c.Task, filepath.Join(c.Task, "tmp")
	if c.private() {
		source, tmp = Home, filepath.Join(Home, "tmp")
	}
	for _, dir := range append([]string{"/home", "/root", "/mnt", "/media", "/srv", "/run", "/var/spool", "/var/mail", "/var/cache", "/var/log"}, c.Hide...) {
		info, err := os.Lstat(dir)
		switch {
		case err != nil:
		case info.IsDir():
			out = append(out, "--tmpfs", dir)
		case info.Mode().IsRegular():
			out = append(out, "--ro-bind", os.DevNull, dir)
		}
	}
	out = append(out, "--bind", tmp, "/tmp", "--bind", tmp, "/var/tmp", "--bind", source, Home)
	// Where a resolver is told of at run time, /etc/resolv.conf leads there.
	out = append(out, "--ro-bind-try", "/run/systemd/resolve", "/run/systemd/resolve", "--ro-bind-try", "/run/resolvconf", "/run/resolvconf")
	if relay := c.Relay; relay != "" {
		if c.private() {
			relay = relayPlace
		}
		out = append(out, "--ro-bind", relay, relayPlace)
	}
	out = append(out, "--remount-ro", "/run", "--seccomp", strconv.Itoa(bubbleFilter), "--chdir", p.Dir)
	for _, entry := range p.Env {
		name, value, _ := strings.Cut(entry, "=")
		out = append(out, "--setenv", name, value)
	}
	return out
}
