package isolation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// EscapeCommand is the first argument of the process that tries to escape from a cell. The program answers it with
// os.Exit(isolation.Escape(os.Args[2:])), before anything else.
const EscapeCommand = "agent-escape"

// bait is what the process that tries is told of what it should not reach.
type bait struct {
	Level      Level             `json:"level"`
	Agent      int               `json:"agent"`      // pid
	Secret     string            `json:"secret"`     // a file of the agent's
	Namespaces map[string]string `json:"namespaces"` // of the agent
	Address    string            `json:"address"`    // of a listener on the agent's loopback; also of one for UDP
	Abstract   string            `json:"abstract"`   // an abstract socket of the agent's
	Token      string            `json:"token"`      // in names that it makes
}

// attempt is one way out. It answers nil if that led out.
type attempt struct {
	from Level // the level that has to stop it
	what string
	try  func(bait) error
}

var errHeld = errors.New("held")

// held is nil if the way out was open.
func held(open bool) error {
	if open {
		return nil
	}
	return errHeld
}

func attempts(ctx context.Context) []attempt {
	return []attempt{
		{S1, "it read a file of the agent", func(b bait) error { _, err := os.ReadFile(b.Secret); return err }},
		{S1, "it opened the agent's memory", opens("mem")},
		{S1, "it read the agent's environment", opens("environ")},
		{S1, "it could signal the agent", func(b bait) error { return unix.Kill(b.Agent, 0) }},
		{S1, "it could trace the agent", func(b bait) error {
			runtime.LockOSThread()
			return unix.PtraceSeize(b.Agent)
		}},
		{S1, "it is root", func(bait) error { return held(os.Getuid() == 0) }},
		{S1, "it became root", func(bait) error { return unix.Setuid(0) }},
		{S1, "it may get privileges from a setuid program", func(bait) error {
			v, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
			return errors.Join(err, held(v != 1))
		}},
		{S1, "it wrote to /etc", writes("/etc")},
		{S1, "it wrote to /usr", writes("/usr")},
		{S2, "it mounted something", func(bait) error { return unix.Mount("otto", "/tmp", "tmpfs", 0, "") }},
		{S2, "it made a user namespace", func(bait) error {
			cmd := exec.Command("/proc/self/exe")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL}
			err := cmd.Start()
			if err == nil {
				_ = errors.Join(cmd.Process.Kill(), cmd.Wait())
			}
			return err
		}},
		{S2, "it unshared a namespace", func(bait) error {
			runtime.LockOSThread()
			return unix.Unshare(unix.CLONE_NEWUSER | unix.CLONE_FS)
		}},
		{S2, "it made a device", func(b bait) error { return unix.Mknod("/tmp/"+b.Token, unix.S_IFBLK|0o600, 1) }},
		{S2, "it could use bpf", raw(unix.SYS_BPF)},
		{S2, "it could use keys of the kernel", raw(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, ^uintptr(0)-2)}, // the session's
		{S2, "it could use userfaultfd", raw(unix.SYS_USERFAULTFD, 1)},                                           // UFFD_USER_MODE_ONLY
		{S2, "it could use io_uring", raw(unix.SYS_IO_URING_SETUP, 1)},
		{S2, "it could use perf events", raw(unix.SYS_PERF_EVENT_OPEN)},
		{S2, "it wrote to /proc/sys", func(bait) error { return write("/proc/sys/kernel/hostname", "escaped") }},
		{S2, "it wrote to /sys", writes("/sys/fs/cgroup")},
		{S2, "it used the sysrq trigger", func(bait) error { return write("/proc/sysrq-trigger", "?") }},
		{S2, "it is in the agent's pid namespace", shares("pid")},
		{S2, "it is in the agent's mount namespace", shares("mnt")},
		{S2, "it is in the agent's user namespace", shares("user")},
		{S2, "it is in the agent's ipc namespace", shares("ipc")},
		{S2, "it is in the agent's uts namespace", shares("uts")},
		{S2, "it read an environment that was not its own", func(bait) error {
			env, err := os.ReadFile("/proc/1/environ")
			return errors.Join(err, held(len(env) > 0))
		}},
		{S2, "it inherited descriptors", func(bait) error { return held(inherited()) }},
		{S3, "it is in the agent's net namespace", shares("net")},
		{S3, "it reached the agent by TCP", dials(ctx, "tcp")},
		{S3, "it reached the agent by MPTCP", func(b bait) error { return dialMultipath(ctx, b.Address) }},
		{S3, "it reached an abstract socket", func(b bait) error { return dial(ctx, "unix", b.Abstract) }},
		{S3, "it sent UDP to the agent", func(b bait) error { return sendUDP(ctx, b.Address, b.Token) }},
		{S3, "it reached the agent through the proxy", func(b bait) error { return throughProxy(ctx, b.Address) }},
	}
}

// Escape is the main function of a process that tries everything from within, and prints what it got away with, a line each.
func Escape(args []string) int {
	var b bait
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &b) != nil {
		fmt.Fprintln(os.Stderr, "otto: this command is for the agent's own use")
		return 64
	}
	// First, while nothing of it is open: what it opens itself it did not inherit.
	out := bufio.NewWriter(os.Stdout)
	ctx := context.Background() // the agent ends the process when it has taken too long
	for _, a := range attempts(ctx) {
		if a.from <= b.Level && tried(a, b) == nil {
			fmt.Fprintln(out, a.what)
		}
	}
	if b.Level >= S3 && dial(ctx, "tcp", relayAddress) != nil {
		fmt.Fprintln(out, "it has no way out to the proxy")
	}
	// For the agent to look for: a file in /tmp, and a process that wants to outlive its step.
	_ = os.WriteFile("/tmp/"+b.Token, nil, 0o600)
	daemon := exec.Command("/bin/sh", "-c", "trap '' TERM HUP; sleep 1000; : "+b.Token)
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "otto: start a daemon:", err)
		return 1
	}
	fmt.Fprintln(out, escapeEnd)
	if err := out.Flush(); err != nil {
		return 1
	}
	return 0
}

// escapeEnd is the last line of an attempt that came to its end.
const escapeEnd = "tried"

// tried makes an attempt on a goroutine of its own: some lock their thread, and leave it to end with it.
func tried(a attempt, b bait) error {
	result := make(chan error)
	go func() { result <- a.try(b) }()
	return <-result
}

func opens(name string) func(bait) error {
	return func(b bait) error {
		f, err := os.Open(filepath.Join("/proc", strconv.Itoa(b.Agent), name))
		if err == nil {
			defer f.Close()
			_, err = f.Read(make([]byte, 1))
			if name == "mem" { // nothing is mapped at its start
				err = nil
			}
		}
		return err
	}
}

func writes(dir string) func(bait) error {
	return func(b bait) error {
		at := filepath.Join(dir, b.Token)
		f, err := os.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			_ = errors.Join(f.Close(), os.Remove(at))
		}
		return err
	}
}

// raw makes a system call, which is open to us unless the kernel does not let it happen at all.
func raw(number uintptr, args ...uintptr) func(bait) error {
	return func(bait) error {
		var a [3]uintptr
		copy(a[:], args)
		if number == unix.SYS_IO_URING_SETUP {
			parameters := make([]byte, 120)
			a[1] = uintptr(unsafe.Pointer(&parameters[0]))
		}
		result, _, code := unix.Syscall(number, a[0], a[1], a[2])
		switch {
		case code == unix.EPERM || code == unix.ENOSYS || code == unix.EACCES:
			return code
		case code == 0 && (number == unix.SYS_IO_URING_SETUP || number == unix.SYS_USERFAULTFD):
			_ = unix.Close(int(result))
		}
		return nil
	}
}

func shares(kind string) func(bait) error {
	return func(b bait) error {
		own, err := os.Readlink("/proc/self/ns/" + kind)
		return errors.Join(err, held(own == b.Namespaces[kind]))
	}
}

// inherited says whether a descriptor beyond the first three was open when this process began: those that it opens itself
// close when it executes another program.
func inherited() bool {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return true
	}
	for _, entry := range entries {
		fd, _ := strconv.Atoi(entry.Name())
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if fd > 2 && err == nil && flags&unix.FD_CLOEXEC == 0 {
			return true
		}
	}
	return false
}

const dialLimit = 2 * time.Second

func dials(ctx context.Context, network string) func(bait) error {
	return func(b bait) error { return dial(ctx, network, b.Address) }
}

func dial(ctx context.Context, network, address string) error {
	d := net.Dialer{Timeout: dialLimit}
	conn, err := d.DialContext(ctx, network, address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

func dialMultipath(ctx context.Context, address string) error {
	d := net.Dialer{Timeout: dialLimit}
	d.SetMultipathTCP(true)
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// sendUDP sends a datagram, which nobody confirms: the agent looks whether it came.
func sendUDP(ctx context.Context, address, token string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(token))
	return errors.Join(err, conn.Close(), errHeld)
}

func throughProxy(ctx context.Context, address string) error {
	d := net.Dialer{Timeout: dialLimit}
	conn, err := d.DialContext(ctx, "tcp", relayAddress)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(dialLimit)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", address, address); err != nil {
		return err
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	return errors.Join(answer.Body.Close(), held(answer.StatusCode == http.StatusOK))
}

// alive says whether a process has the token in its command line.
func alive(token string) bool {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return true
	}
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && bytes.Contains(line, []byte(token)) && !strings.HasPrefix(path, "/proc/"+strconv.Itoa(os.Getpid())+"/") {
			return true
		}
	}
	return false
}
