package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ottoci/otto/db"
)

// localConfig says what runs on a data directory.
type localConfig struct {
	listen, metricsListen string
	databaseURL           string // the embedded Postgres if empty
	storeURL              string
	private               bool // it serves the commands of this machine, and ends when they have
	agent                 *agentSettings
}

// localServer is a whole Otto on one data directory: the control plane, and an agent in a process of its own.
type localServer struct {
	app   *app
	dir   string
	lock  *os.File
	plane *plane
	q     *db.Queries
	token string // an admin's
	fresh bool   // the token was made at this start
	file  *published
	agent *agentProcess
}

// startLocal starts everything, or nothing. It answers errBusy when another process has the data directory.
func (a *app) startLocal(ctx context.Context, dir string, cfg localConfig) (_ *localServer, err error) {
	if err := makeDataDir(dir); err != nil {
		return nil, err
	}
	l := &localServer{app: a, dir: dir}
	if l.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			l.Stop()
		}
	}()
	l.plane, err = startPlane(ctx, planeConfig{
		dataDir: dir, databaseURL: cfg.databaseURL, storeURL: cfg.storeURL, pgBin: a.env.pgBin,
		listen: cfg.listen, metricsListen: cfg.metricsListen, jobs: true, migrate: true, limits: a.limits, log: a.log,
	})
	if err != nil {
		return nil, err
	}
	l.q = db.New(l.plane.pool)
	if err = l.prepare(ctx, cfg); err != nil {
		return nil, err
	}
	if cfg.agent != nil {
		l.agent, err = l.startAgent(ctx, *cfg.agent)
	}
	return l, err
}

// prepare gets the token, ends what a killed session has left, and tells other commands of this machine.
func (l *localServer) prepare(ctx context.Context, cfg localConfig) (err error) {
	name := adminToken
	if cfg.private {
		name = sessionToken
	}
	if l.token, l.fresh, err = ensureToken(ctx, l.q, l.dir, name); err != nil {
		return err
	}
	if cfg.databaseURL == "" {
		if err := l.recover(ctx); err != nil {
			return err
		}
	}
	if cfg.private && cfg.agent == nil {
		return nil // it only answers this command, and would leave the runs of others waiting
	}
	l.file, err = publish(l.dir, serverFile{URL: l.plane.url, Token: l.token, PID: os.Getpid(), Private: cfg.private})
	return err
}

// recover aborts the runs that a killed otto run has left. Those of otto up go on instead.
func (l *localServer) recover(ctx context.Context) error {
	aborted, err := l.abortSession(ctx, "the command that started it was killed")
	if err != nil {
		return fmt.Errorf("recover from a killed session: %w", err)
	}
	if len(aborted) > 0 {
		l.app.say("recovered: aborted %s, whose command was killed", runNumbers(aborted))
	}
	return nil
}

// abortSession aborts what sessions have started and nobody executes any more.
func (l *localServer) abortSession(ctx context.Context, reason string) (aborted []int64, err error) {
	runs, err := l.q.RunList(ctx, db.RunListParams{States: []string{"pending", "running", "blocked", "aborting"}, AtMost: 1000})
	if err != nil {
		return nil, err
	}
	const actor = "otto run"
	for _, r := range runs {
		if r.Run.CreatedBy != "user:"+sessionToken {
			continue
		}
		aborted = append(aborted, r.Run.ID)
		for range 2 { // the second time also stops what is marked always
			if err := ignoreRefusal(l.q.RunAbort(ctx, db.RunAbortParams{Run: r.Run.ID, Actor: actor, Reason: &reason})); err != nil {
				return nil, err
			}
		}
	}
	if len(aborted) == 0 {
		return nil, nil
	}
	if gone := storedAgent(l.agentDir()); gone != 0 {
		err = ignoreRefusal(l.q.AgentBye(ctx, db.AgentByeParams{Agent: gone, Actor: actor}))
	}
	return aborted, err
}

// ignoreRefusal passes over a transition's no: somebody else was faster.
func ignoreRefusal[T any](_ T, err error) error {
	if _, refused := db.AsRefusal(err); refused {
		return nil
	}
	return err
}

// Stop ends everything and blocks until it has. It may be called twice.
func (l *localServer) Stop() {
	if l.file != nil {
		l.file.withdraw()
	}
	if l.agent != nil {
		if l.plane.broken.Load() {
			l.agent.Abandon()
		}
		l.agent.Stop()
	}
	if l.plane != nil {
		l.plane.Stop()
	}
	_ = l.lock.Close()
}

func (l *localServer) agentDir() string { return filepath.Join(l.dir, "agent") }

// makeDataDir makes the directory. Root's is open for passing through, as the database server steps down to a user of
// its own; what is secret in it is closed file by file.
func makeDataDir(dir string) error {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o755
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return withHint(fmt.Errorf("make the data directory: %w", err), "choose another with OTTO_DATA_DIR or --data-dir")
	}
	return nil
}

// hasHistory says whether a data directory holds the database of an earlier command.
func hasHistory(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "postgres", "data"))
	return err == nil
}

var errNoHistory = errors.New("no server runs here, and none has")
