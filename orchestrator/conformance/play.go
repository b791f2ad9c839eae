package conformance

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"io"
)

// play is the orchestrator's command, and all that is seen of it.
type play struct {
	cfg     Config
	proxy   *http.Server // between the command and the server
	url     string       // of the proxy
	greeted atomic.Int64 // hellos that were taken
	asked   atomic.Int64 // requests for demand
	refused atomic.Int64 // bids that were refused

	command *exec.Cmd
	gone    chan struct{}
	number  int64 // of the orchestrator
	waiting int64 // a run that nobody serves yet
}

func newPlay(cfg Config) (*play, error) {
	if len(cfg.Command) == 0 {
		return nil, errors.New("there is no command to start the orchestrator with")
	}
	target, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the orchestrator: %w", err)
	}
	p := &play{cfg: cfg, url: "http://" + listener.Addr().String()}
	forward := httputil.NewSingleHostReverseProxy(target)
	forward.ErrorLog = log.New(io.Discard, "", 0)
	forward.ModifyResponse = p.note
	p.proxy = &http.Server{Handler: forward, ReadHeaderTimeout: time.Minute, ErrorLog: forward.ErrorLog}
	go func() { _ = p.proxy.Serve(listener) }()
	return p, nil
}

// note counts what the orchestrator asks.
func (p *play) note(r *http.Response) error {
	switch path := r.Request.URL.Path; {
	case path == "/v1/orchestrator/demand":
		p.asked.Add(1)
	case path == "/v1/orchestrator/hello" && r.StatusCode == http.StatusOK:
		p.greeted.Add(1)
	}
	if refusedBid(r) {
		p.refused.Add(1)
	}
	return nil
}

// start runs the command, in a process group of its own.
func (p *play) start(env ...string) error {
	cmd := exec.CommandContext(context.Background(), p.cfg.Command[0], p.cfg.Command[1:]...) // its end is played, not cancelled
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.cfg.Dir, p.cfg.Output, p.cfg.Output
	cmd.Env = append(append(append([]string{}, p.cfg.Env...), "OTTO_URL="+p.url, "OTTO_DATA_DIR="+p.cfg.Dir), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // children that outlive it may hold its output
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the orchestrator: %w", err)
	}
	gone := make(chan struct{})
	p.command, p.gone = cmd, gone
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	return nil
}

func (p *play) over() bool {
	if p.gone == nil {
		return true
	}
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

func (p *play) signal(s os.Signal) {
	if !p.over() {
		_ = p.command.Process.Signal(s)
	}
}

// ended waits for the command's end.
func (p *play) ended(ctx context.Context) error {
	err := p.until(ctx, "the command ends", func(context.Context) (bool, error) { return p.over(), nil })
	if err != nil {
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	}
	return err
}

// end leaves nothing running that the command has not taken out of its process group.
func (p *play) end() {
	if !p.over() {
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
		<-p.gone
	}
	_ = p.proxy.Close()
}
