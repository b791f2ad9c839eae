//go:build linux

// Package enginetest gives the tests of a process a container engine of their own: a dockerd in namespaces of processes,
// mounts and network, so that nothing of it can outlive the process, and nothing of the host's is touched.
//
// It needs root and dockerd. Where they are missing the tests are skipped; under CI they fail.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// Engine is a running container engine.
type Engine struct {
	Host string         // for --docker-host
	API  *client.Client // of that host

	pid    int // of the first process in its namespaces
	alive  io.Closer
	images images
}

// patience is how long an engine may take to answer. It takes half a second on an idle machine.
const patience = time.Minute

// the is this process's engine: made once, by the first test that asks.
var the = sync.OnceValues(start)

// Start gives the engine of this process.
func Start(t testing.TB) *Engine {
	t.Helper()
	if why := missing(); why != "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("enginetest: %s", why)
		}
		t.Skipf("enginetest: %s", why)
	}
	e, err := the()
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	return e
}

// missing says why no engine can be started here.
func missing() string {
	if os.Geteuid() != 0 {
		return "an engine is started by root only"
	}
	for _, program := range []string{"dockerd", "containerd", "runc", "iptables", "ip", "mount", busybox} {
		if _, err := exec.LookPath(program); err != nil {
			return program + " is missing; scripts/deps test installs it"
		}
	}
	return ""
}

// inside starts the engine in its namespaces and waits for the end of standard input, which comes with the end of whoever
// holds the other end. This shell is the first process in there: when it ends, the kernel kills the rest.
const inside = `set -e
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up
dockerd --host "unix://$1/sock" --data-root "$1/data" --exec-root "$1/run" --pidfile "$1/pid" --cgroup-parent "/$2" \
    --storage-driver overlay2 --log-level warn </dev/null >"$1/log" 2>&1 &
cat >/dev/null
`

// after removes what a kernel does not: files, and the groups of processes that are gone.
const after = `cat
n=0
while [ $n -lt 200 ]; do
    rm -rf "$1" 2>/dev/null || :
    find /sys/fs/cgroup -depth -type d -path "*/$2*" -exec rmdir {} + 2>/dev/null || :
    [ -e "$1" ] || [ -n "$(find /sys/fs/cgroup -type d -name "$2" 2>/dev/null)" ] || exit 0
    sleep 0.05; n=$((n+1))
done
`

// start starts an engine that ends with this process.
func start() (*Engine, error) {
	dir, err := os.MkdirTemp("", "otto-engine-")
	if err != nil {
		return nil, err
	}
	held, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer held.Close()
	e := &Engine{Host: "unix://" + filepath.Join(dir, "sock"), alive: alive}
	first := shell(inside, held, dir)
	first.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET
	for _, cmd := range []*exec.Cmd{first, shell(after, held, dir)} {
		if err := cmd.Start(); err != nil {
			return nil, errors.Join(err, alive.Close(), os.RemoveAll(dir))
		}
	}
	e.pid = first.Process.Pid
	// Connections that wait for more would outlive the tests, which look for what they leave behind.
	single := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if e.API, err = client.New(client.WithHTTPClient(single), client.WithHost(e.Host), client.WithScheme("http")); err != nil {
		return nil, err
	}
	if err := e.await(); err != nil {
		words, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, errors.Join(fmt.Errorf("start dockerd: %w\n%s", err, words), alive.Close())
	}
	return e, nil
}

func shell(script string, input *os.File, dir string) *exec.Cmd {
	cmd := exec.Command("/bin/sh", "-c", script, "otto-engine", dir, filepath.Base(dir))
	cmd.Dir = "/"
	cmd.Stdin = input
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is not for it
	return cmd
}

// await waits until the engine answers.
func (e *Engine) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := e.API.Ping(ctx, client.PingOptions{})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// Listen listens on a loopback address that the engine sees, and its containers do not.
func (e *Engine) Listen(t testing.TB) net.Listener {
	t.Helper()
	type answer struct {
		net.Listener
		error
	}
	made := make(chan answer, 1)
	go func() {
		// The thread stays in the engine's network, so it is not given back: it ends with its goroutine. Sockets stay
		// where they were made.
		runtime.LockOSThread()
		l, err := e.listen(t.Context())
		made <- answer{l, err}
	}()
	a := <-made
	if a.error != nil {
		t.Fatalf("enginetest: listen in the engine's network: %v", a.error)
	}
	return a.Listener
}

func (e *Engine) listen(ctx context.Context) (net.Listener, error) {
	network, err := os.Open(e.NetworkPath())
	if err != nil {
		return nil, err
	}
	defer network.Close()
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return (&net.ListenConfig{}).Listen(ctx, "tcp4", "127.0.0.1:0")
}

// NetworkPath names the engine's network, for nsenter --net.
func (e *Engine) NetworkPath() string { return fmt.Sprintf("/proc/%d/ns/net", e.pid) }

// Left lists the containers and networks with a label, such as otto.agent=…; none is what a test wants at its end.
func (e *Engine) Left(t testing.TB, label string) (left []string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	filters := client.Filters{}.Add("label", label)
	containers, err := e.API.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	for _, c := range containers.Items {
		left = append(left, "container "+strings.Join(c.Names, ",")+" "+c.Status)
	}
	networks, err := e.API.NetworkList(ctx, client.NetworkListOptions{Filters: filters})
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	for _, n := range networks.Items {
		left = append(left, "network "+n.Name)
	}
	volumes, err := e.API.VolumeList(ctx, client.VolumeListOptions{Filters: filters})
	if err != nil {
		t.Fatalf("enginetest: %v", err)
	}
	for _, v := range volumes.Items {
		left = append(left, "volume "+v.Name)
	}
	return left
}
