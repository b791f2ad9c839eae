// Package api is Otto's HTTP API: each operation decodes its request, makes one call of the database, and encodes the
// answer. The database decides everything that matters; what is here can be killed at any moment.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/store"
)

// Config is what an API node needs.
type Config struct {
	Pool *pgxpool.Pool
	// AgentPool is for agents only, so that no flood of other requests ever costs a heartbeat. Pool if nil. Whoever makes tasks
	// ready or orders an abort through it wakes the dispatcher, whatever the answer was: the database's own word is not heard.
	AgentPool   *pgxpool.Pool
	DatabaseURL string // for hearing wake-ups; without it everything works by polling, later
	Store       *store.Store
	Name        string // of this node, unique in the installation
	Version     string
	Logger      *slog.Logger // slog.Default() if nil
	Limits      Limits
	Plans       pipeline.Limits // what bounds plans
}

// Limits of what one caller may take. Zero values work.
type Limits struct {
	SourceBytes int64   // of one source bundle; 512 MiB if zero
	Rate        float64 // requests per second of one token; 200 if zero, unlimited if negative
	Burst       int     // requests at once; 2000 if zero
}

const defaultSourceBytes = 512 << 20

// API answers HTTP requests. Make it with New, Start it, and Stop it before its pools are closed.
type API struct {
	cfg       Config
	log       *slog.Logger
	users     *db.Queries
	agents    *db.Queries
	agentPool *pgxpool.Pool
	wake      *db.Wakeups
	table     *table
	huma      huma.API
	document  documents
	handler   http.Handler
	authority *authority
	limiter   *limiter
	metrics   *metrics
	codec     *codec
	share     *logShare
	watches   *logWatches
	dispatch  *dispatcher
	tail      *tail
	creates   *batcher[creation, answer[client.Run]]
	names     planNames // of new runs
	reports   *batcher[report, taken]
	beats     *batcher[heartbeat, renewal]
	idle      idlers
	heartbeat atomic.Int64 // the time between an agent's heartbeats, once it is known

	stopping chan struct{} // closed by Stop: held requests and streams end with it
	halt     func()
	work     sync.WaitGroup
}

// errStopping is why a request was ended early.
var errStopping = errors.New("the server is stopping")

// New wires the handlers to the route table and checks that they match. Nothing runs before Start.
func New(cfg Config) (*API, error) {
	if cfg.Pool == nil || cfg.Store == nil {
		return nil, errors.New("api: a pool and a store are needed")
	}
	wake := db.NewWakeups()
	if cfg.AgentPool == nil {
		cfg.AgentPool = cfg.Pool
	} else if cfg.AgentPool != cfg.Pool { // the jobs of this process may work with the other one, and wake nobody here
		wake.Know(cfg.AgentPool)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Limits.SourceBytes == 0 {
		cfg.Limits.SourceBytes = defaultSourceBytes
	}
	a := &API{
		cfg: cfg, log: cfg.Logger, users: db.New(cfg.Pool), agents: db.New(cfg.AgentPool), agentPool: cfg.AgentPool,
		wake: wake, table: newTable(routes()),
		limiter: newLimiter(cfg.Limits.Rate, cfg.Limits.Burst),
	}
	a.stopping = make(chan struct{})
	a.halt = sync.OnceFunc(func() { close(a.stopping) })
	var err error
	if a.codec, err = newCodec(); err != nil {
		return nil, err
	}
	a.share, a.watches = newLogShare(&a.codec.buffers), newLogWatches(a.users)
	a.metrics = newMetrics(a)
	a.authority = &authority{users: a.users, agents: a.agents}
	a.dispatch = newDispatcher(a)
	a.tail = newTail(a)
	a.creates, a.reports = a.newCreates(), a.newReports()
	a.beats = a.newHeartbeats()
	if err := a.register(); err != nil {
		return nil, err
	}
	return a, nil
}

// register makes the mux and puts the gate before it.
func (a *API) register() error {
	mux := http.NewServeMux()
	a.huma = humago.New(mux, humaConfig())
	a.registerContent()
	a.registerRuns()
	a.registerTasks()
	a.registerEvents()
	a.registerLogs()
	a.registerAgents()
	a.registerLeases()
	a.registerOrchestrators()
	a.registerTokens()
	a.registerPools()
	a.registerHealth()
	if err := a.registerDocs(mux); err != nil {
		return err
	}
	if wrong := a.table.check(); len(wrong) > 0 {
		return fmt.Errorf("api: %w", errors.Join(wrong...))
	}
	a.handler = &gate{api: a, mux: mux, rows: a.table.byPattern, origins: http.NewCrossOriginProtection()}
	return nil
}

// apiVersion is that of the document, not of the program that serves it.
const apiVersion = "1"

// humaConfig is strict: nothing unknown is accepted, and nothing is added to bodies.
func humaConfig() huma.Config {
	cfg := huma.DefaultConfig("Otto", apiVersion)
	cfg.CreateHooks = nil // it would add $schema to every body
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "", "", ""
	cfg.RejectUnknownQueryParameters = true
	cfg.Transformers = []huma.Transformer{ourProblems}
	cfg.Info.Description = "Otto runs software delivery: plans that are explained before they run, on a fleet of agents."
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaNamer)
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "otto_user_…, otto_enrol_…, otto_agent_… or otto_orchestrator_…"},
	}
	cfg.Security = []map[string][]string{{"token": {}}}
	return cfg
}

// foreign begins the names of huma's own types, which it adds to every document and we never answer.
const foreign = "Huma"

// schemaNamer names types in the document: as in Go, so that ours and huma's may share a name.
func schemaNamer(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if strings.HasSuffix(t.PkgPath(), "/huma/v2") {
		return foreign + name
	}
	return name
}

// Handler is the whole API.
func (a *API) Handler() http.Handler { return a.handler }

// Start begins hearing wake-ups, handing out tasks, and saying that this node is alive. It returns at once; the end of
// ctx ends what it began, like Stop.
func (a *API) Start(ctx context.Context) {
	ctx, cancel := context.WithCancelCause(ctx)
	a.work.Go(func() {
		select {
		case <-ctx.Done():
			a.halt()
		case <-a.stopping:
			cancel(errStopping)
		}
	})
	if a.cfg.DatabaseURL != "" {
		a.work.Go(func() { a.wake.Listen(ctx, a.cfg.DatabaseURL) })
	}
	a.work.Go(func() { a.dispatch.run(ctx) })
	a.work.Go(func() { a.tail.run(ctx) })
	a.work.Go(func() { a.beat(ctx) })
	a.work.Go(func() { a.noteUses(ctx) })
	a.work.Go(func() { a.tellOfIdlers(ctx) })
}

// Stop ends held requests and streams at once, then waits for what Start began. It may be called twice.
func (a *API) Stop() {
	a.halt()
	a.work.Wait()
}

// slowestBeat is how often a node says that it is alive, at least. Agents' leases are not judged while no node was, and what a
// node remembers of credentials is good for believeFor only.
const slowestBeat = 3 * time.Second

// beat says so at once and then again and again, several times within a heartbeat; an error is one beat less.
func (a *API) beat(ctx context.Context) {
	failing := false
	every := slowestBeat
	for {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, slowestBeat)
		settings, err := a.agents.ServerBeat(bounded, a.cfg.Name)
		cancel()
		if err == nil {
			every = min(slowestBeat, settings.Heartbeat/4)
			a.heartbeat.Store(int64(settings.Heartbeat))
			a.authority.heard(settings.TokenChanges, began)
		} else if !failing && ctx.Err() == nil {
			a.log.WarnContext(ctx, "server beat was not stored", "error", err)
		}
		failing = err != nil
		if !wait(ctx, max(every-time.Since(began), every/10)) {
			return
		}
	}
}

// noteUses keeps the database informed of which credentials are used; an error is one word less.
func (a *API) noteUses(ctx context.Context) {
	for wait(ctx, noteEvery+rand.N(noteEvery/10)) {
		if err := a.authority.note(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "use of tokens was not noted", "error", err)
		}
	}
}

// wait sleeps for d, and says whether ctx still lives.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Server is an HTTP server for a handler with every time-out set that does not depend on the route; the gate sets those
// that do.
func Server(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}
