package isolation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Egress is the way out of a task whose network leads nowhere else: an HTTP proxy, also for CONNECT. It leads to the public
// internet and to what Allow names; never to this machine, nor to the networks around it, where the metadata of clouds,
// databases and control planes are. What counts is the address that is dialled, not the name that was asked for.
type Egress struct {
	allow []string // host or host:port, lower case
}

// NewEgress reads what may be reached besides the public internet.
func NewEgress(allow []string) (*Egress, error) {
	e := &Egress{}
	for _, entry := range allow {
		host := entry
		if h, port, err := net.SplitHostPort(entry); err == nil {
			if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 { // numbers are what is dialled
				return nil, fmt.Errorf("%q has no number of a port that can be dialled: write host or host:port", entry)
			}
			host = h
		}
		if host == "" || strings.ContainsAny(host, "/ *@") {
			return nil, fmt.Errorf("%q is no destination: write host or host:port", entry)
		}
		e.allow = append(e.allow, strings.ToLower(entry))
	}
	return e, nil
}

// errForbidden is for destinations that a task may not reach.
var errForbidden = errors.New("a task at S3 may not reach it; the agent's --egress-allow can name it")

// dial connects to a destination unless it is forbidden. The address is looked at once it is resolved: a name may lead to
// one place when it is checked, and to another when it is dialled.
func (e *Egress) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	host, port, err := net.SplitHostPort(strings.ToLower(address))
	if err != nil {
		return nil, err
	}
	if !slices.Contains(e.allow, host) && !slices.Contains(e.allow, net.JoinHostPort(host, port)) {
		d.Control = func(_, resolved string, _ syscall.RawConn) error { return judge(resolved) }
	}
	return d.DialContext(ctx, network, address)
}

// judge refuses an address that is not one of the public internet, or is of this machine.
func judge(resolved string) error {
	at, err := netip.ParseAddrPort(resolved)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap().WithZone("")
	if !public(ip) {
		return fmt.Errorf("%s: %w", ip, errForbidden)
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list this machine's addresses: %w", err)
	}
	for _, address := range own {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil && prefix.Addr().Unmap() == ip {
			return fmt.Errorf("%s is this machine: %w", ip, errForbidden)
		}
	}
	return nil
}

// special are networks that are not for everybody, beyond those that package netip knows.
func special() []string {
	return []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10", // some carry an address of IPv4 within
	}
}

func public(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	return !slices.ContainsFunc(special(), func(network string) bool { return netip.MustParsePrefix(network).Contains(ip) })
}

// egressConnections is how many connections one task may hold at once.
const egressConnections = 256

// Serve answers a task until the listener is closed.
func (e *Egress) Serve(listener net.Listener) error {
	transport := &http.Transport{DialContext: e.dial, MaxIdleConns: 16, IdleConnTimeout: 30 * time.Second}
	defer transport.CloseIdleConnections()
	plain := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.Out.Header.Del("Proxy-Connection") },
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) { refuse(w, r.URL.Host, err) },
	}
	server := &http.Server{
		ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodConnect:
				e.connect(w, r)
			case r.URL.Scheme == "http" && r.URL.Host != "":
				plain.ServeHTTP(w, r)
			default:
				http.Error(w, "otto: this is a proxy for http and, by CONNECT, https", http.StatusBadRequest)
			}
		}),
	}
	err := server.Serve(&bounded{Listener: listener, free: make(chan struct{}, egressConnections)})
	_ = server.Close()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// connect makes a tunnel.
func (e *Egress) connect(w http.ResponseWriter, r *http.Request) {
	there, err := e.dial(r.Context(), "tcp", r.Host)
	if err != nil {
		refuse(w, r.Host, err)
		return
	}
	defer there.Close()
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		refuse(w, r.Host, err)
		return
	}
	defer here.Close()
	if _, err := buffered.WriteString("HTTP/1.1 200 Connection established\r\n\r\n"); err != nil || buffered.Flush() != nil {
		return
	}
	if early := buffered.Reader.Buffered(); early > 0 { // what came with the request
		head, _ := buffered.Peek(early)
		if _, err := there.Write(head); err != nil {
			return
		}
	}
	splice(here, there)
}

// refuse says why a destination was not reached.
func refuse(w http.ResponseWriter, host string, err error) {
	status := http.StatusBadGateway
	if errors.Is(err, errForbidden) {
		status = http.StatusForbidden
	}
	http.Error(w, fmt.Sprintf("otto: cannot reach %s: %v", host, err), status)
}

// bounded accepts only so many connections at once.
type bounded struct {
	net.Listener
	free chan struct{}
}

func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundedConn{Conn: conn, free: b.free}, nil
}

type boundedConn struct {
	net.Conn
	free chan struct{}
	once sync.Once
}

func (c *boundedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *boundedConn) Close() error {
	c.once.Do(func() { <-c.free })
	return c.Conn.Close()
}

// splice copies both ways until both have ended.
func splice(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		halfCopy(a, b)
	}()
	halfCopy(b, a)
	<-done
}

// halfCopy copies until from ends, and lets to know that nothing more comes.
func halfCopy(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		_ = half.CloseWrite()
		return
	}
	_, _ = to.Close(), from.Close() // half of it is of no use
}
