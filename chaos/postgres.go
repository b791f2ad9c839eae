package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/migrations"
)

// postgres is the fleet's database server, as durable as a real one. It can be crashed; its socket is another one after
// that, so everything reaches it through dial.
type postgres struct {
	cfg   local.Config
	admin *pgxpool.Pool // superuser; not through any proxy, so that the oracle sees what the fleet cannot

	mu     sync.Mutex
	server *local.Server // nil while it is down

	crashing sync.Mutex // one crash at a time
}

// shortTimes makes losses happen within seconds that take minutes otherwise. Nothing else differs from production.
const shortTimes = `update cluster set lease_ttl = '3 s', heartbeat = '1 s', start_within = '8 s', grace = '1 s',
	abort_silence = '5 s', log_silence = '20 s'`

func startPostgres(ctx context.Context, dir string) (_ *postgres, err error) {
	p := &postgres{cfg: local.Config{Dir: filepath.Join(dir, "postgres"), Durable: true, Settings: map[string]string{"max_connections": "150"}}}
	if p.server, err = local.Start(ctx, p.cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.end()
		}
	}()
	if _, err = migrations.Up(ctx, p.server.URL()); err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(urlAt("127.0.0.1:1"))
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = 6
	cfg.ConnConfig.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) }
	if p.admin, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	_, err = p.admin.Exec(ctx, shortTimes)
	return p, err
}

// urlAt is the connection string of the database behind an address of ours. The kernel vouches for us at the socket
// (peer authentication), so there is no password.
func urlAt(address string) string {
	return "postgres://postgres@" + address + "/otto?sslmode=disable"
}

func (p *postgres) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	if server == nil {
		return nil, fmt.Errorf("postgres is down: %w", syscall.ECONNREFUSED)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join(server.SocketDir(), ".s.PGSQL.5432"))
}

// crash stops the server as -m immediate does, without a checkpoint, and starts it again after a pause.
func (p *postgres) crash(ctx context.Context, down time.Duration) error {
	p.crashing.Lock()
	defer p.crashing.Unlock()
	p.mu.Lock()
	server := p.server
	p.server = nil
	p.mu.Unlock()
	if err := syscall.Kill(server.Pid(), syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	<-server.Done()
	server.Stop()
	wait(ctx, down)
	again, err := local.Start(context.WithoutCancel(ctx), p.cfg)
	if err != nil {
		return fmt.Errorf("start postgres again: %w", err)
	}
	p.mu.Lock()
	p.server = again
	p.mu.Unlock()
	return nil
}

func (p *postgres) end() {
	if p.admin != nil {
		p.admin.Close()
	}
	if p.server != nil {
		p.server.Stop()
	}
}

// wait waits, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
