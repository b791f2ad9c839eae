package main

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ottoci/otto/client"
)

// connection is the server that a verb talks to.
type connection struct {
	*client.Client
	url   string
	local *localServer // that this very command has started
	used  *attachment  // or that it found on this machine
}

// need says what a verb wants of a server that it has to start itself.
type need int

const (
	needAnswers need = iota // about runs that are over
	needWork                // an agent, too
)

// connect finds the server: the one that is named, else the one that runs on the data directory, else a private one in
// this process.
func (a *app) connect(ctx context.Context, need need) (*connection, error) {
	if url := first(a.flags.url, a.env.url); url != "" {
		return a.dial(url, first(a.flags.token, a.env.token))
	}
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	for told := newReminder(time.Second); ; {
		found, err := attach(ctx, dir)
		if err != nil {
			return nil, err
		}
		if found != nil {
			c, err := a.dial(found.URL, first(a.flags.token, found.Token))
			if err != nil {
				found.release()
				return nil, err
			}
			c.used = found
			return c, nil
		}
		c, err := a.connectPrivate(ctx, dir, need)
		if !errors.Is(err, errBusy) {
			return c, err
		}
		// It starts, and will have a server file; or it stops, and will give up the directory.
		if told.due() {
			a.say("otto: waiting for another otto to start or stop in %s", dir)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// connectPrivate starts a control plane in this process. It answers errBusy when another process has the data directory.
func (a *app) connectPrivate(ctx context.Context, dir string, need need) (*connection, error) {
	cfg := localConfig{listen: "127.0.0.1:0", private: true}
	if need == needWork {
		cfg.agent = &agentSettings{capacity: sessionCapacity}
	} else if !hasHistory(dir) {
		return nil, withHint(errNoHistory, "otto run runs an Ottofile here; OTTO_URL names a server elsewhere (looked in %s)", dir)
	}
	if !hasHistory(dir) {
		a.say("making a database in %s, this once", dir)
	}
	local, err := a.startLocal(ctx, dir, cfg)
	if err != nil {
		return nil, err
	}
	c, err := a.dial(local.plane.url, local.token)
	if err != nil {
		local.Stop()
		return nil, err
	}
	c.local = local
	return c, nil
}

// dial makes the client. Streams are held open one for each task, so connections are many and belong to one host.
func (a *app) dial(url, token string) (*connection, error) {
	pool := http.DefaultTransport.(*http.Transport).Clone()
	pool.MaxIdleConnsPerHost = 32
	c, err := client.New(client.Config{URL: url, Token: token, HTTPClient: &http.Client{Transport: pool}, UserAgent: "otto/" + version()})
	if err != nil {
		return nil, withHint(err, "OTTO_URL or --url is the address of a server, such as http://127.0.0.1:7070")
	}
	return &connection{Client: c, url: url}, nil
}

// close lets the server go; a private one stops.
func (c *connection) close() {
	switch {
	case c.local != nil:
		c.local.Stop()
	case c.used != nil:
		c.used.release()
	}
}

// lives says whether a server outlives the command that is connected to it.
func (c *connection) lives() bool {
	return c.local == nil && (c.used == nil || !c.used.Private)
}

// reminder is due once, after a while.
type reminder struct {
	at   time.Time
	done bool
}

func newReminder(after time.Duration) *reminder { return &reminder{at: time.Now().Add(after)} }

func (r *reminder) due() bool {
	if r.done || time.Now().Before(r.at) {
		return false
	}
	r.done = true
	return true
}

// canWork says whether tasks can run on a server, as far as this machine knows: one that a verb has started only to
// answer has no agent.
func (c *connection) canWork() bool { return c.local == nil || c.local.agent != nil }
