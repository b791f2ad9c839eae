package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A door does to requests what its weather says, and nothing otherwise.
func TestDoor(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.Copy(w, r.Body)
	}))
	t.Cleanup(node.Close)
	d, err := newDoor("test", []string{"127.0.0.1:1", strings.TrimPrefix(node.URL, "http://")}, newHistory())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.end)
	ask := func(ctx context.Context) (int, string) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, ""
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	if status, _ := ask(t.Context()); status != http.StatusBadGateway {
		t.Errorf("a node that is away: %d", status)
	}
	if status, body := ask(t.Context()); status != http.StatusOK || body != "hello" {
		t.Errorf("the next node: %d %q", status, body)
	}
	d.set(func(w *weather) { w.deaf = true })
	if status, _ := ask(t.Context()); status != 0 || served.Load() != 2 {
		t.Errorf("deaf: %d, the node served %d", status, served.Load())
	}
	d.set(func(w *weather) { *w = weather{cut: true} })
	if status, _ := ask(t.Context()); status != 0 || served.Load() != 2 {
		t.Errorf("cut: %d, the node served %d", status, served.Load())
	}
	d.set(func(w *weather) { *w = weather{hole: true} })
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if status, _ := ask(short); status != 0 || short.Err() == nil || served.Load() != 2 {
		t.Errorf("hole: %d before its time, the node served %d", status, served.Load())
	}
	d.set(func(w *weather) { *w = weather{duplicate: true} })
	for range 200 {
		ask(t.Context())
	}
	if n := served.Load(); n <= 202 || n >= 402 {
		t.Errorf("of 200 requests with duplicates, the node served %d", n-2)
	}
}

// A link passes bytes, holds them while it is stalled, and closes what is cut.
func TestLink(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	echo, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { echo.Close() })
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	l, err := newLink(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", echo.Addr().String())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.end)
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", l.address())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say := func(patience time.Duration) error {
		c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 1))
		return err
	}
	if err := say(time.Minute); err != nil {
		t.Error(err)
	}
	l.stall()
	if err := say(50 * time.Millisecond); err == nil {
		t.Error("a stalled link passes bytes")
	}
	l.release()
	if err := say(time.Minute); err != nil {
		t.Errorf("after the stall: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil { // what was said during the stall has been answered, too
		t.Errorf("after the stall: %v", err)
	}
	l.cut()
	if err := say(time.Minute); err == nil {
		t.Error("a cut link passes bytes")
	}
}
