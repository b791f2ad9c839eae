package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/api"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/jobs"
	"github.com/ottoci/otto/migrations"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/store"
)

// planeConfig says which parts of a control plane run in this process, and on what. Empty is left out.
type planeConfig struct {
	dataDir       string // holds the embedded Postgres, and the store unless storeURL is given
	databaseURL   string // instead of the embedded Postgres
	storeURL      string
	pgBin         string
	listen        string // address of the API
	metricsListen string
	jobs          bool
	migrate       bool
	limits        pipeline.Limits // of plans
	log           *slog.Logger
}

// plane is a control plane: Postgres, the object store, the API and the workers, as far as they run here. Its parts
// stop in the reverse order of their start.
type plane struct {
	cfg   planeConfig
	dbURL string
	url   string // of the API
	pool  *pgxpool.Pool
	store *store.Store

	failed chan error  // a part ended by itself
	broken atomic.Bool // it did
	parts  []func()    // what stops each part
	stop   sync.Once
}

// startPlane starts all parts, or none.
func startPlane(ctx context.Context, cfg planeConfig) (_ *plane, err error) {
	p := &plane{cfg: cfg, failed: make(chan error, 4)}
	defer func() {
		if err != nil {
			p.Stop()
		}
	}()
	var listener net.Listener
	if cfg.listen != "" { // first: a port that is taken is the likeliest obstacle, and the cheapest to find
		if listener, err = p.claim(ctx, cfg.listen, "--listen"); err != nil {
			return nil, err
		}
	}
	for _, start := range []func(context.Context) error{p.startDatabase, p.startSchema, p.startPool, p.startStore, p.startJobs} {
		if err = start(ctx); err != nil {
			return nil, err
		}
	}
	if listener != nil {
		if err = p.startAPI(ctx, listener); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Stop stops what runs and blocks until it has. It may be called twice.
func (p *plane) Stop() {
	p.stop.Do(func() {
		for i := len(p.parts) - 1; i >= 0; i-- {
			p.parts[i]()
		}
	})
}

func (p *plane) onStop(f func()) { p.parts = append(p.parts, f) }

// fail reports a part that ended by itself; the first is told, the others follow from it.
func (p *plane) fail(err error) {
	p.broken.Store(true)
	p.lose(err)
}

// lose reports that the agent will not come: the plane itself still works, and stops in order.
func (p *plane) lose(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

func (p *plane) startDatabase(ctx context.Context) error {
	if p.dbURL = p.cfg.databaseURL; p.dbURL != "" {
		return nil
	}
	server, err := local.Start(ctx, local.Config{
		Dir: filepath.Join(p.cfg.dataDir, "postgres"), Bin: p.cfg.pgBin, Durable: true, Log: p.cfg.log,
	})
	if err != nil {
		return err
	}
	p.dbURL = server.URL()
	var watch sync.WaitGroup
	watch.Go(func() {
		<-server.Done()
		if err := server.Err(); err != nil {
			p.fail(err)
		}
	})
	p.onStop(func() {
		server.Stop()
		watch.Wait()
	})
	return nil
}

func (p *plane) startSchema(ctx context.Context) error {
	if p.cfg.migrate {
		result, err := migrations.Up(ctx, p.dbURL)
		if err != nil {
			return err
		}
		if result.Rebuilt {
			p.cfg.log.InfoContext(ctx, "schema migrated", "from", result.From, "to", result.To)
		}
		return nil
	}
	status, err := migrations.Check(ctx, p.dbURL)
	switch {
	case err != nil:
		return err
	case status.State == migrations.Behind:
		return withHint(fmt.Errorf("the database's schema is at version %d, and this otto needs %d", status.Database, status.Binary), "otto migrate")
	case status.State == migrations.Newer:
		return fmt.Errorf("%w: it is at version %d, this binary knows %d", migrations.ErrNewer, status.Database, status.Binary)
	}
	return nil
}

func (p *plane) startPool(ctx context.Context) (err error) {
	p.pool, err = p.openPool(ctx, "otto", 10)
	return err
}

func (p *plane) openPool(ctx context.Context, name string, size int32) (*pgxpool.Pool, error) {
	pool, err := db.Open(ctx, db.Config{URL: p.dbURL, Name: name, MaxConns: size})
	if err != nil {
		return nil, err
	}
	p.onStop(pool.Close)
	return pool, nil
}

func (p *plane) startStore(ctx context.Context) (err error) {
	place := p.cfg.storeURL
	if place == "" {
		place = filepath.Join(p.cfg.dataDir, "store")
	}
	if p.store, err = store.Open(ctx, place); err != nil {
		return err
	}
	p.onStop(func() {
		if err := p.store.Close(); err != nil {
			p.cfg.log.WarnContext(ctx, "store not closed", "error", err)
		}
	})
	return p.store.Ready(ctx)
}

// jobsPatience is how long the workers may take to end: their jobs are short, and are repeated elsewhere.
const jobsPatience = 10 * time.Second

func (p *plane) startJobs(ctx context.Context) error {
	if !p.cfg.jobs {
		return nil
	}
	workers, err := jobs.Start(context.WithoutCancel(ctx), jobs.Config{Pool: p.pool, Store: p.store, Logger: p.cfg.log, Plans: p.cfg.limits})
	if err != nil {
		return err
	}
	p.onStop(func() {
		wait := jobsPatience
		if p.broken.Load() {
			wait = 0
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		defer cancel()
		if err := workers.Stop(ctx); err != nil {
			p.cfg.log.WarnContext(ctx, "workers not stopped", "error", err)
		}
	})
	return nil
}

func (p *plane) startAPI(ctx context.Context, listener net.Listener) error {
	// Agents have connections of their own, so that no flood of other requests ever costs a heartbeat.
	agents, err := p.openPool(ctx, "otto agents", 5)
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "otto"
	}
	server, err := api.New(api.Config{
		Pool: p.pool, AgentPool: agents, DatabaseURL: p.dbURL, Store: p.store,
		Name: fmt.Sprintf("%s:%d", host, os.Getpid()), Version: version(), Logger: p.cfg.log, Plans: p.cfg.limits,
	})
	if err != nil {
		return err
	}
	server.Start(context.WithoutCancel(ctx))
	p.onStop(server.Stop)
	if p.cfg.metricsListen != "" {
		metrics, err := p.claim(ctx, p.cfg.metricsListen, "--metrics-listen")
		if err != nil {
			return err
		}
		p.serve(api.Server(server.MetricsHandler()), metrics, func() {})
	}
	p.url = "http://" + reachable(listener.Addr())
	p.serve(api.Server(server.Handler()), listener, server.Stop)
	return nil
}

// reachable is an address that can be called: a server that listens everywhere is called here.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return addr.String()
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// serve answers requests until Stop, which lets those that are being answered end; hangUp ends the ones without end.
func (p *plane) serve(server *http.Server, listener net.Listener, hangUp func()) {
	server.ErrorLog = slog.NewLogLogger(p.cfg.log.Handler(), slog.LevelDebug)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.fail(fmt.Errorf("serve %s: %w", listener.Addr(), err))
		}
	})
	p.onStop(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- server.Shutdown(ctx) }()
		hangUp()
		if <-ended != nil {
			_ = server.Close()
		}
		serving.Wait()
	})
}

// claim takes an address for this process.
func (p *plane) claim(ctx context.Context, address, flag string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("the address %s is in use by another program", address),
			"choose another with %s 127.0.0.1:PORT, or port 0 for any that is free", flag)
	case err != nil:
		return nil, withHint(fmt.Errorf("listen on %s: %w", address, err), "%s takes HOST:PORT, such as 127.0.0.1:7070", flag)
	}
	p.onStop(func() { _ = listener.Close() })
	return listener, nil
}
