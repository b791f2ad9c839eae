package isolation

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lure is what an attempt to escape should not reach, and how one sees that it did.
type lure struct {
	bait
	listeners []net.Listener
	datagrams net.PacketConn
}

func newLure(ctx context.Context, level Level, dir string) (l *lure, err error) {
	l = &lure{bait: bait{Level: level, Agent: os.Getpid(), Namespaces: map[string]string{}, Token: "otto-" + strings.ToLower(rand.Text())}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, kind := range []string{"pid", "mnt", "user", "ipc", "uts", "net"} {
		if l.Namespaces[kind], err = os.Readlink("/proc/self/ns/" + kind); err != nil {
			return l, fmt.Errorf("look at our own namespaces: %w", err)
		}
	}
	l.Secret = filepath.Join(filepath.Dir(dir), l.Token)
	if err := os.WriteFile(l.Secret, []byte(l.Token), 0o600); err != nil {
		return l, fmt.Errorf("write a file to look for: %w", err)
	}
	var listen net.ListenConfig
	tcp, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return l, fmt.Errorf("listen for an escape: %w", err)
	}
	l.Address, l.Abstract = tcp.Addr().String(), "@"+l.Token
	l.listeners = append(l.listeners, tcp)
	abstract, err := listen.Listen(ctx, "unix", l.Abstract)
	if err != nil {
		return l, fmt.Errorf("listen for an escape: %w", err)
	}
	l.listeners = append(l.listeners, abstract)
	if l.datagrams, err = listen.ListenPacket(ctx, "udp", l.Address); err != nil {
		return l, fmt.Errorf("listen for an escape: %w", err)
	}
	return l, nil
}

func (l *lure) close() {
	for _, listener := range l.listeners {
		_ = listener.Close()
	}
	if l.datagrams != nil {
		_ = l.datagrams.Close()
	}
	_ = os.Remove(l.Secret)
}

// judge says what got out, by what the attempt says itself and by what can be seen from here.
func (l *lure) judge(said string, status unix.WaitStatus) error {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if last := lines[len(lines)-1]; last != escapeEnd {
		return fmt.Errorf("nothing could be started: %s", strings.TrimSpace(said+" "+ending(status)))
	}
	escapes := lines[:len(lines)-1]
	if _, err := os.Lstat(filepath.Join("/tmp", l.Token)); err == nil && l.Level >= S1 {
		escapes = append(escapes, "it wrote to everybody's /tmp")
		_ = os.Remove(filepath.Join("/tmp", l.Token))
	}
	if alive(l.Token) {
		escapes = append(escapes, "it left a process behind")
	}
	if l.Level >= S3 && l.heard() {
		escapes = append(escapes, "it sent UDP to the agent")
	}
	slices.Sort(escapes)
	if escapes = slices.Compact(escapes); len(escapes) > 0 {
		return &Escaped{Ways: escapes}
	}
	return nil
}

// heard says whether a datagram has come.
func (l *lure) heard() bool {
	_ = l.datagrams.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, _, err := l.datagrams.ReadFrom(make([]byte, 1))
	return err == nil
}

func ending(status unix.WaitStatus) string {
	if status.Signaled() {
		return "(" + unix.SignalName(status.Signal()) + ")"
	}
	return fmt.Sprintf("(exit status %d)", status.ExitStatus())
}

// Escaped is what an attempt got away with.
type Escaped struct{ Ways []string }

func (e *Escaped) Error() string { return strings.Join(e.Ways, ", ") }
