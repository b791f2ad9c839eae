package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/client"
)

// rig is one Otto at work: a database, a server, a worker, and whatever agents a measurement adds.
type rig struct {
	s      *session
	name   string // of the database, too
	dbURL  string
	url    string
	env    []string
	db     *pgxpool.Pool // superuser, to see what the API does not tell
	admin  *client.Client
	users  []*client.Client // the rate of requests is limited for each token, so there are many
	server *process
	worker *process
	agents []*process
}

// manyUsers is how many tokens submit runs. One may submit about 100 per second.
const manyUsers = 32

// newRig brings up an Otto on a new database.
func (s *session) newRig(ctx context.Context, name string) (*rig, error) {
	place, err := s.pg.createMigrated(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.rigOn(ctx, name, place)
}

// rigOn brings up an Otto on a database that is there.
func (s *session) rigOn(ctx context.Context, name, place string) (_ *rig, err error) {
	dir := filepath.Join(s.cfg.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &rig{s: s, name: name, dbURL: place}
	r.env = append(os.Environ(), "OTTO_DATABASE_URL="+place, "OTTO_STORE_URL="+filepath.Join(dir, "store"),
		"OTTO_DATA_DIR="+filepath.Join(dir, "data"), "OTTO_LOG=warn", "OTTO_TOKEN=", "OTTO_ENROL_TOKEN=")
	defer func() {
		if err != nil {
			r.stop()
		}
	}()
	if r.db, err = pgxpool.New(ctx, place); err != nil {
		return nil, err
	}
	if r.server, err = r.launch("server", nil, "server", "--listen", "127.0.0.1:0", "--metrics-listen", ""); err != nil {
		return nil, err
	}
	if r.worker, err = r.launch("worker", nil, "worker"); err != nil {
		return nil, err
	}
	greeting, err := r.server.greeting(ctx)
	if err != nil {
		return nil, err
	}
	r.url = greeting[strings.LastIndex(greeting, " ")+1:]
	if _, err = r.worker.greeting(ctx); err != nil {
		return nil, err
	}
	return r, r.makeUsers(ctx)
}

func (r *rig) launch(name string, env []string, args ...string) (*process, error) {
	return launch(r.s.cfg.Otto, filepath.Join(r.s.cfg.Dir, r.name), name, append(r.env, env...), args...)
}

// makeUsers makes the first admin as an operator does, and the others through the API.
func (r *rig) makeUsers(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, r.s.cfg.Otto, "token", "create", "--bootstrap")
	cmd.Env = r.env
	secret, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("make the first token: %w", err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	if r.admin, err = r.client(transport, strings.TrimSpace(string(secret))); err != nil {
		return err
	}
	for range manyUsers {
		token, err := r.admin.TokenCreate(ctx, client.TokenCreate{Name: "bench", Role: "admin"})
		if err != nil {
			return err
		}
		user, err := r.client(transport, token.Secret)
		if err != nil {
			return err
		}
		r.users = append(r.users, user)
	}
	return nil
}

func (r *rig) client(transport http.RoundTripper, token string) (*client.Client, error) {
	return client.New(client.Config{URL: r.url, Token: token, HTTPClient: &http.Client{Transport: transport}, UserAgent: "otto-bench"})
}

// user spreads requests over the tokens.
func (r *rig) user(i int) *client.Client { return r.users[i%len(r.users)] }

// stop ends all processes, the agents first.
func (r *rig) stop() {
	for _, p := range append(r.agents, r.worker, r.server) {
		if p != nil {
			p.stop()
		}
	}
	if r.db != nil {
		r.db.Close()
	}
}

// alive says which process has died, if any.
func (r *rig) alive() error {
	var errs []error
	for _, p := range append(r.agents, r.worker, r.server) {
		select {
		case <-p.done:
			errs = append(errs, p.death())
		default:
		}
	}
	return errors.Join(errs...)
}

// plan stores the plan of an Ottofile and gives its digest.
func (r *rig) plan(ctx context.Context, ottofile string) (string, error) {
	answer, err := r.admin.PlanCreate(ctx, client.PlanCreate{Ottofile: ottofile, File: "Ottofile.yaml"})
	if err != nil {
		return "", err
	}
	if answer.Digest == "" {
		return "", fmt.Errorf("the benchmark's Ottofile has no plan: %v", answer.Diagnostics)
	}
	return answer.Digest, nil
}

// glance is how often a condition that nothing announces is looked at. Where whole rounds are timed, it is rarely: to look 500 times a
// second took a tenth of the machine from what was measured.
const (
	glance     = 2 * time.Millisecond
	longGlance = 20 * time.Millisecond
)

// until looks again and again until ok.
func (r *rig) until(ctx context.Context, every time.Duration, ok func(context.Context) (bool, error)) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if is, err := ok(ctx); is || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// over waits until a run is final.
func (r *rig) over(ctx context.Context, run int64) error {
	return r.until(ctx, glance, func(ctx context.Context) (is bool, err error) {
		return is, r.db.QueryRow(ctx, "select exists (select from runs where id = $1 and finished_at is not null)", run).Scan(&is)
	})
}

// quiet waits until all runs are final.
func (r *rig) quiet(ctx context.Context) error {
	return r.until(ctx, longGlance, func(ctx context.Context) (is bool, err error) {
		if err := r.alive(); err != nil {
			return false, err
		}
		return is, r.db.QueryRow(ctx, "select not exists (select from runs where finished_at is null)").Scan(&is)
	})
}

// enrolToken makes a token for one agent.
func (r *rig) enrolToken(ctx context.Context, i int) (string, error) {
	token, err := r.user(i).TokenCreate(ctx, client.TokenCreate{Name: "bench", Role: "enrol"})
	return token.Secret, err
}

// bareLevel is the isolation of agents that do no more for a task than its process: the ceiling does no more either, and steps may
// write to the benchmark's pipes.
const bareLevel = "S0"

// addAgent starts a real agent, which offers a label and isolates so far. It may not be ready yet; what is submitted to it waits.
func (r *rig) addAgent(ctx context.Context, label, level string, capacity int) error {
	secret, err := r.enrolToken(ctx, 0)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("agent%d", len(r.agents))
	p, err := r.launch(name, []string{"OTTO_URL=" + r.url, "OTTO_ENROL_TOKEN=" + secret}, "agent", "--name", name,
		"--dir", filepath.Join(r.s.cfg.Dir, r.name, name), "--capacity", fmt.Sprint(capacity), "--label", "bench="+label, "--isolation", level)
	if err != nil {
		return err
	}
	r.agents = append(r.agents, p)
	return nil
}
