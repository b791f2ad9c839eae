package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
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

var errDown = errors.New("it was down")

// shortTimes makes losses happen within seconds that take minutes otherwise. Nothing else differs from production.
const shortTimes = `update cluster set lease_ttl = '3 s', heartbeat = '1 s', start_within = '8 s', grace = '1 s',
	abort_silence = '5 s', log_silence = '20 s'`

func startPostgres(ctx context.Context, dir string) (_ *postgres, err error) {
	p := &postgres{cfg: local.Config{Dir: filepath.Join(dir, "postgres"), Durable: true, Settings: map[string]string{
		"max_connections": "150", "max_wal_size": "128MB", "min_wal_size": "64MB",
	}}}
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
	server := p.now()
	if server == nil {
		return nil, fmt.Errorf("postgres is down: %w", syscall.ECONNREFUSED)
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join(server.SocketDir(), ".s.PGSQL.5432"))
}

// crash stops the server as -m immediate does, without a checkpoint, and starts it again after a pause.
func (p *postgres) crash(ctx context.Context, down time.Duration) error {
	if !p.crashing.TryLock() {
		return errDown
	}
	defer p.crashing.Unlock()
	server := p.now()
	if server == nil {
		return errDown
	}
	p.set(nil)
	if err := syscall.Kill(server.Pid(), syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	<-server.Done()
	server.Stop()
	wait(ctx, down)
	return p.startAgain(ctx)
}

func (p *postgres) startAgain(ctx context.Context) error {
	again, err := local.Start(context.WithoutCancel(ctx), p.cfg)
	if err != nil {
		return fmt.Errorf("start postgres again: %w", err)
	}
	p.set(again)
	return nil
}

func (p *postgres) now() *local.Server {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.server
}

func (p *postgres) set(server *local.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server = server
}

// fillDisk leaves the server no room for a while: it refuses what wants to grow. If logFull, it has no room to write
// ahead, either, and gives up altogether. Then it is started again, as an operator does who has made room.
func (p *postgres) fillDisk(ctx context.Context, d *disk, long time.Duration, logFull bool) error {
	if !p.crashing.TryLock() {
		return errDown
	}
	defer p.crashing.Unlock()
	if p.now() == nil {
		return errDown
	}
	err := d.fillWhile(func() {
		full, cancel := context.WithTimeout(ctx, long)
		defer cancel()
		if logFull {
			p.useLog(full)
		}
		<-full.Done()
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startPatience)
	defer cancel()
	return until(ctx, "postgres works again", func() (bool, error) { return p.revived(ctx) })
}

// useLog uses up the files that the server has ready for writing ahead, until it cannot go on.
func (p *postgres) useLog(ctx context.Context) {
	for ctx.Err() == nil {
		_, err := p.admin.Exec(ctx, "select pg_logical_emit_message(false, 'chaos', 'one'), pg_switch_wal()")
		if err != nil {
			return
		}
	}
}

// revived says whether the server takes changes again; one that has given up is started.
func (p *postgres) revived(ctx context.Context) (bool, error) {
	server := p.now()
	select {
	case <-server.Done():
		p.set(nil)
		server.Stop()
		return true, p.startAgain(ctx)
	default:
	}
	_, err := p.admin.Exec(ctx, "create temp table room on commit drop as select 1")
	return err == nil, nil // it may be recovering
}

func (p *postgres) end() {
	if p.admin != nil {
		p.admin.Close()
	}
	if p.server != nil {
		p.server.Stop()
	}
	// What it said is on its disk, which goes.
	if said, err := os.ReadFile(filepath.Join(p.cfg.Dir, "postgres.log")); err == nil {
		_ = os.WriteFile(p.cfg.Dir+".log", said, 0o600) // a help for whoever looks for a reason, no more
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
