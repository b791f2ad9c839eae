package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// judge is the oracle: everything is finished, nothing goes wrong any more, and every trace must agree.
func judge(ctx context.Context, f *fleet, r *report, users *load) error {
	for _, i := range atTheEnd() {
		if !r.check(ctx, f, i) {
			return fmt.Errorf("the oracle could not look: %s", i.name)
		}
	}
	for _, look := range []func(context.Context, *fleet, *report) error{count, judgeExecutions, judgeOmissions, judgeMachine, judgeHistory, judgeEvents, judgeLogs, judgeSecrets} {
		if err := look(ctx, f, r); err != nil {
			return err
		}
	}
	return judgePromises(ctx, f, r, users)
}

// count says how much was done, so that a verdict over nothing shows.
func count(ctx context.Context, f *fleet, r *report) error {
	const sizes = `select (select count(*) from runs), (select count(*) from tasks), (select count(*) from leases), (select count(*) from events)`
	c := &r.Counts
	if err := f.pg.admin.QueryRow(ctx, sizes).Scan(&c.Runs, &c.Tasks, &c.Attempts, &c.Events); err != nil {
		return err
	}
	for _, d := range f.doors {
		d.count(func(seen *doorCounts) {
			c.Requests, c.Duplicated = c.Requests+seen.Requests, c.Duplicated+seen.Duplicated
			c.Delayed, c.Lost = c.Delayed+seen.Delayed, c.Lost+seen.Lost
		})
	}
	for _, m := range f.members {
		c.Starts += m.count()
	}
	var err error
	if r.Runs, err = tally(ctx, f, "select state, count(*) from runs group by state"); err != nil {
		return err
	}
	r.Attempts, err = tally(ctx, f, "select coalesce(end_reason, 'open'), count(*) from leases group by end_reason")
	return err
}

func tally(ctx context.Context, f *fleet, query string) (map[string]int, error) {
	rows, err := f.pg.admin.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	var name string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&name, &n}, func() error { out[name] = n; return nil })
	return out, err
}

// judgeExecutions compares what steps wrote down when they ran with what the database says: a step is executed at most
// once in an attempt, in an attempt that its agent was told to begin, and what succeeded was executed.
func judgeExecutions(ctx context.Context, f *fleet, r *report) error {
	body, err := os.ReadFile(f.executions())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	seen := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		seen[lines.Text()]++
		r.Counts.Executions++
	}
	for what, n := range seen {
		if n > 1 {
			r.broken("a step is executed once in an attempt", fmt.Sprintf("task, attempt and step %s: %d times", what, n))
		}
	}
	begun, err := texts(ctx, f, `select format('%s %s %s', s.task_id, s.epoch, s.name) from steps s join leases l on l.task_id = s.task_id and l.epoch = s.epoch where l.started_at is not null`)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, what := range begun {
		known[what] = true
	}
	for what := range seen {
		if !known[what] {
			r.broken("nothing runs before its attempt has begun", "task, attempt and step "+what)
		}
	}
	succeeded, err := texts(ctx, f, `select format('%s %s %s', task_id, epoch, name) from steps where state = 'succeeded'`)
	for _, what := range succeeded {
		if seen[what] == 0 {
			r.broken("what succeeded was executed", "task, attempt and step "+what)
		}
	}
	return err
}

// settled is how long the last processes may take to die after the end of their task: the grace time and some.
const settled = 15 * time.Second

// judgeMachine looks at the machine: no process and no workspace of a task is left.
func judgeMachine(ctx context.Context, f *fleet, r *report) error {
	patience, cancel := context.WithTimeout(ctx, settled)
	defer cancel()
	var left []string
	err := until(patience, "every process of a task is gone", func() (bool, error) {
		left = append(processes("CHAOS_MARK="+f.mark), workspaces(f)...)
		return len(left) == 0, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		for _, what := range left {
			r.broken("nothing of a final task is left", what)
		}
		return nil
	}
	return err
}

// processes lists those whose environment has the entry.
func processes(entry string) (found []string) {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is well formed
	for _, path := range paths {
		environ, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environ, []byte(entry+"\x00")) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		task := regexp.MustCompile(`OTTO_TASK_ID=(\d+)`).FindSubmatch(environ)
		found = append(found, fmt.Sprintf("process %s (%s) of task %s", filepath.Base(filepath.Dir(path)),
			strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")), bytes.Join(task[min(1, len(task)):], nil)))
	}
	return found
}

// workspaces lists what agents keep of leases: all of them are over.
func workspaces(f *fleet) (found []string) {
	for _, name := range runners {
		for _, pattern := range []string{"????????-????-*", "spool/*"} {
			paths, _ := filepath.Glob(filepath.Join(f.workDir(name), pattern))
			found = append(found, paths...)
		}
	}
	return found
}

// judgePromises compares what users were told with what is there.
func judgePromises(ctx context.Context, f *fleet, r *report, users *load) error {
	users.mu.Lock()
	defer users.mu.Unlock()
	if users.invalid != nil {
		return fmt.Errorf("the load is wrong: %w", users.invalid)
	}
	for run, project := range users.acked {
		n, err := f.number(ctx, "select count(*) from runs r join projects p on p.id = r.project_id where r.id = $1 and p.name = $2", run, project)
		if err != nil {
			return err
		}
		if n != 1 {
			r.broken("what was acknowledged is kept", fmt.Sprintf("run %d of %s is not there", run, project))
		}
	}
	for run, of := range users.repeated {
		n, err := f.number(ctx, "select count(*) from runs where id = $1 and rerun_of = $2", run, of)
		if err != nil {
			return err
		}
		if n != 1 {
			r.broken("what was acknowledged is kept", fmt.Sprintf("run %d, which repeats %d, is not there", run, of))
		}
	}
	twice, err := texts(ctx, f, `select format('runs %s are of one submission', string_agg(id::text, ', ')) from runs where rerun_of is null group by coalesce(source_digest, plan_digest) having count(*) > 1`)
	for _, what := range twice {
		r.broken("a request that is repeated does nothing twice", what)
	}
	for of, asked := range users.reruns {
		n, err := f.number(ctx, "select count(*) from runs where rerun_of = $1", of)
		if err != nil {
			return err
		}
		if n > asked {
			r.broken("a request that is repeated does nothing twice", fmt.Sprintf("run %d was repeated %d times, and %d repetitions were asked for", of, n, asked))
		}
	}
	return err
}

var crashed = regexp.MustCompile(`(?m)^(panic:|fatal error:|WARNING: DATA RACE).*`)

// afterEnd reads what the processes said, and makes sure that they are gone.
func afterEnd(f *fleet, r *report) {
	for name, m := range f.members {
		talk, err := os.ReadFile(filepath.Join(f.dir, name+".log"))
		if err != nil {
			r.broken("processes can be judged", err.Error())
		}
		if found := crashed.Find(talk); found != nil {
			r.broken("no process crashes", name+": "+string(found))
		}
		if secret.Match(talk) {
			r.broken("no secret is in a log", name+" prints a token")
		}
		if m.refused {
			r.broken("a credential stays good", name+" ended because its credential was refused")
		}
	}
	for _, what := range processes("CHAOS_MARK=" + f.mark) {
		r.broken("nothing outlives the fleet", what)
	}
}
