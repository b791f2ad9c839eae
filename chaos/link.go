package main

import (
	"context"
	"net"
	"sync"
)

// link is a TCP proxy on the way from one process to Postgres. It can be cut, stalled, and half-opened.
type link struct {
	listener net.Listener
	dial     func(context.Context) (net.Conn, error)
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	open  chan struct{} // closed while bytes pass
}

func newLink(dial func(context.Context) (net.Conn, error)) (*link, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, dial: dial, conns: map[net.Conn]struct{}{}, open: make(chan struct{})}
	close(l.open)
	l.serving.Go(l.accept)
	return l, nil
}

func (l *link) address() string { return l.listener.Addr().String() }

func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.serving.Go(func() { l.serve(conn) })
	}
}

// serve carries one connection until either end closes it.
func (l *link) serve(near net.Conn) {
	defer l.forget(near)
	l.remember(near)
	far, err := l.dial(context.Background())
	if err != nil {
		return
	}
	defer l.forget(far)
	l.remember(far)
	var pumping sync.WaitGroup
	pumping.Go(func() { l.pump(far, near) })
	l.pump(near, far)
	pumping.Wait()
}

// pump copies while the link is open; what is read while it is stalled passes afterwards.
func (l *link) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			<-l.passable()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (l *link) passable() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

func (l *link) remember(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = struct{}{}
}

func (l *link) forget(c net.Conn) {
	c.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// cut closes every connection, whatever is on its way.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset, as when a machine goes away
		}
		c.Close()
	}
}

// stall lets no byte pass: connections stay open and silent.
func (l *link) stall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

// release lets bytes pass again.
func (l *link) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

func (l *link) end() {
	l.listener.Close()
	l.release()
	l.cut()
	l.serving.Wait()
}
