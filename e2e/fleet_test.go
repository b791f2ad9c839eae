// Package e2e proves promises on whole fleets: real Postgres, servers, workers and agents as processes, and what kills them.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db/dbtest"
)

// patience is how long a condition may take to come true; the machine may be slow.
const patience = 60 * time.Second

// binary is otto, built once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "otto-e2e")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "otto")
	out, err := exec.Command("go", "build", "-o", path, "../cmd/otto").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build otto: %w: %s", err, out)
	}
	return path, nil
})

// A fleet is a database and the processes on it.
type fleet struct {
	t     testing.TB
	bin   string
	dir   string
	db    *dbtest.Database
	env   []string
	url   string // of the first server
	token string
}

// newFleet has a migrated database, an admin, and no process yet. Leases live as long as ttl.
func newFleet(t testing.TB, ttl time.Duration) *fleet {
	t.Helper()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, bin: bin, dir: t.TempDir(), db: dbtest.Open(t), url: "http://" + freeAddress(t)}
	f.env = append(os.Environ(), "OTTO_DATABASE_URL="+f.db.URL, "OTTO_STORE_URL="+filepath.Join(f.dir, "store"),
		"OTTO_DATA_DIR="+filepath.Join(f.dir, "data"), "OTTO_URL="+f.url)
	f.exec("update cluster set lease_ttl = $1, heartbeat = $2", ttl, ttl/3)
	f.token = strings.TrimSpace(f.otto("token", "create", "--bootstrap"))
	f.env = append(f.env, "OTTO_TOKEN="+f.token)
	return f
}

func (f *fleet) exec(query string, args ...any) {
	f.t.Helper()
	if _, err := f.db.Owner.Exec(f.t.Context(), query, args...); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) number(query string, args ...any) (n int) {
	f.t.Helper()
	if err := f.db.Owner.QueryRow(f.t.Context(), query, args...).Scan(&n); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		f.t.Fatal(err)
	}
	return n
}

// otto runs a command to its end and gives its output.
func (f *fleet) otto(args ...string) string {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), f.bin, args...)
	cmd.Env = f.env
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	if err := cmd.Run(); err != nil {
		f.t.Fatalf("otto %s: %v\n%s%s", strings.Join(args, " "), err, &out, &talk)
	}
	return out.String()
}

// A process of the fleet.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
}

// start backgrounds otto with args; the test's end ends it.
func (f *fleet) start(env []string, args ...string) *process {
	f.t.Helper()
	p := &process{cmd: exec.Command(f.bin, args...), log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(f.env, env...), p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	f.t.Cleanup(func() {
		p.kill(syscall.SIGKILL)
		if f.t.Failed() {
			f.t.Logf("otto %s:\n%s", strings.Join(args, " "), p.log)
		}
	})
	return p
}

// kill sends the signal and, if it ends the process, waits for that.
func (p *process) kill(sig syscall.Signal) {
	p.cmd.Process.Signal(sig)
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		<-p.done
	}
}

// server starts an API node and waits until it is ready.
func (f *fleet) server(url string) *process {
	f.t.Helper()
	p := f.start(nil, "server", "--listen", strings.TrimPrefix(url, "http://"), "--metrics-listen", "")
	f.ready(url)
	return p
}

func (f *fleet) ready(url string) {
	f.t.Helper()
	f.eventually("the server at "+url+" is ready", func() bool {
		r, err := http.Get(url + "/health/ready")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func (f *fleet) worker() *process { return f.start(nil, "worker") }

// agent enrols an agent and starts it; url may be that of any server.
func (f *fleet) agent(name, url string) *process { return f.agentWith(name, url) }

// agentWith is agent with more words on its command line.
func (f *fleet) agentWith(name, url string, args ...string) *process {
	f.t.Helper()
	token, err := f.client().TokenCreate(f.t.Context(), client.TokenCreate{Name: name, Role: "enrol"})
	if err != nil {
		f.t.Fatal(err)
	}
	return f.start([]string{"OTTO_URL=" + url, "OTTO_ENROL_TOKEN=" + token.Secret},
		append([]string{"agent", "--name", name, "--dir", filepath.Join(f.dir, name), "--capacity", "4", "--isolation", "S0"}, args...)...)
}

func (f *fleet) client() *client.Client {
	f.t.Helper()
	c, err := client.New(client.Config{URL: f.url, Token: f.token})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// submit stores the plan of an Ottofile and starts a run of it.
func (f *fleet) submit(ottofile string) int64 {
	f.t.Helper()
	plan, err := f.client().PlanCreate(f.t.Context(), client.PlanCreate{Ottofile: ottofile, File: "Ottofile.yaml"})
	if err != nil {
		f.t.Fatal(err)
	}
	run, err := f.client().RunCreate(f.t.Context(), client.RunCreate{Plan: plan.Digest})
	if err != nil {
		f.t.Fatal(err)
	}
	return run.Run
}

// show reads a run; while the database is away it asks again.
func (f *fleet) show(run int64) (detail client.RunDetail) {
	f.t.Helper()
	f.eventually("the server answers", func() (ok bool) {
		var err error
		detail, err = f.client().RunShow(f.t.Context(), fmt.Sprint(run))
		if err != nil && !client.IsStatus(err, http.StatusServiceUnavailable) {
			f.t.Fatal(err)
		}
		return err == nil
	})
	return detail
}

// end waits for a run's end and gives it.
func (f *fleet) end(run int64) client.RunDetail {
	f.t.Helper()
	f.eventually(fmt.Sprintf("run %d ends", run), func() bool {
		return f.number("select count(*) from runs where id = $1 and finished_at is not null", run) == 1
	})
	return f.show(run)
}

// states is a run in one line, as in the tests of the transitions.
func states(run client.RunDetail) string {
	out := run.State + ":"
	for _, s := range run.Stages {
		var in []string
		for _, t := range s.Tasks {
			in = append(in, t.Name+"="+t.State)
		}
		out += fmt.Sprintf(" %s[%s]", s.State, strings.Join(in, " "))
	}
	return out
}

func (f *fleet) eventually(what string, ok func() bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			f.t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// path is a file that steps and tests talk through; steps get a new workspace each, so its name is absolute.
func (f *fleet) path(name string) string { return filepath.Join(f.dir, name) }

func (f *fleet) touch(name string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// lines counts the lines that steps wrote to a file.
func (f *fleet) lines(name string) int {
	f.t.Helper()
	b, err := os.ReadFile(f.path(name))
	if err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	return bytes.Count(b, []byte("\n"))
}

// hold is a step that notes its execution, says its pid, and works until the file "go" is there.
func (f *fleet) hold() string {
	return fmt.Sprintf("echo x >> %s; echo $$ > %s; until [ -e %s ]; do sleep 0.1; done; echo done", f.path("executions"), f.path("pid"), f.path("go"))
}

// alive says whether the process whose number a step wrote still runs.
func (f *fleet) alive(pidFile string) bool {
	b, err := os.ReadFile(f.path(pidFile))
	if err != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
	if err != nil {
		return false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	return fields[0] != "Z"
}

// yamlString quotes a script for a flow mapping.
func yamlString(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// log reads the whole log of a task's attempt (0: the current one).
func (f *fleet) log(task int64, attempt int) string {
	f.t.Helper()
	url := fmt.Sprintf("%s/v1/tasks/%d/log?attempt=%d", f.url, task, attempt)
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		f.t.Fatalf("%s: %s %v %s", url, r.Status, err, b)
	}
	return string(b)
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
