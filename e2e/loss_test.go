package e2e

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Servers and workers are killed and started again while a step runs: it is executed once, and its log is whole.
func TestServerRestartInterruptsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3*time.Second)
	server, worker := f.server(f.url), f.worker()
	f.agent("one", f.url)
	run := f.submit("steps: [{sh: " + yamlString("echo before; "+f.hold()) + "}]")
	f.eventually("the step runs", func() bool { return f.alive("pid") })

	server.kill(syscall.SIGKILL)
	worker.kill(syscall.SIGKILL)
	f.eventually("every lease has run out", func() bool {
		return f.number("select count(*) from leases where ended_at is null and expires_at < now() - interval '3 seconds'") == 1
	})
	f.server(f.url)
	f.worker()
	f.eventually("the lease is renewed", func() bool {
		return f.number("select count(*) from leases where ended_at is null and expires_at > now()") == 1
	})
	f.touch("go")
	end := f.end(run)
	if end.State != "succeeded" || f.lines("executions") != 1 || end.Stages[0].Tasks[0].Attempt != 1 {
		t.Errorf("%s after %d executions, attempt %d", states(end), f.lines("executions"), end.Stages[0].Tasks[0].Attempt)
	}
	f.eventually("the log is whole", func() bool { return f.log(end.Stages[0].Tasks[0].Task, 0) == "before\ndone\n" })
}

// Postgres itself goes away without notice: nothing is executed twice.
func TestConnectionsLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3*time.Second)
	f.server(f.url)
	f.worker()
	f.agent("one", f.url)
	run := f.submit("steps: [{sh: " + yamlString(f.hold()) + "}]")
	f.eventually("the step runs", func() bool { return f.alive("pid") })
	for range 20 {
		f.exec("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	}
	f.touch("go")
	if end := f.end(run); end.State != "succeeded" || f.lines("executions") != 1 {
		t.Errorf("%s after %d executions", states(end), f.lines("executions"))
	}
}

// An agent is killed in the middle of a step: its process tree dies with it, another agent does the task, and both
// attempts are kept.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2*time.Second)
	f.server(f.url)
	f.worker()
	first := f.agent("first", f.url)
	run := f.submit("steps: [{sh: " + yamlString("echo attempt $OTTO_ATTEMPT; "+f.hold()) + "}]")
	f.eventually("the step runs", func() bool { return f.alive("pid") })
	f.eventually("its log has arrived", func() bool { return f.number("select coalesce(sum(log_bytes), 0)::bigint from leases") > 0 })

	first.kill(syscall.SIGKILL)
	f.eventually("the process tree is gone", func() bool { return !f.alive("pid") })
	f.agent("second", f.url)
	f.eventually("another agent runs the task", func() bool { return f.lines("executions") == 2 })
	f.touch("go")
	end := f.end(run)
	task := end.Stages[0].Tasks[0]
	if end.State != "succeeded" || task.Attempt != 2 || task.Agent != "second" {
		t.Errorf("%s, attempt %d by %s", states(end), task.Attempt, task.Agent)
	}
	f.eventually("both logs are whole", func() bool {
		return f.log(task.Task, 1) == "attempt 1\n" && f.log(task.Task, 2) == "attempt 2\ndone\n"
	})
	if n := f.number("select count(*) from events where kind = 'task.interrupted' and run_id = $1", run); n != 1 {
		t.Errorf("%d interruptions in the history, want 1", n)
	}
}

// An agent is stopped for longer than its lease and comes back: what it says is refused, and it kills its work.
func TestAgentStoppedTooLong(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 2*time.Second)
	f.server(f.url)
	f.worker()
	first := f.agent("first", f.url)
	run := f.submit("steps: [{sh: " + yamlString("echo $$ > "+f.path("pid")+".$OTTO_ATTEMPT; "+f.hold()) + "}]")
	f.eventually("the step runs", func() bool { return f.alive("pid.1") })

	syscall.Kill(first.cmd.Process.Pid, syscall.SIGSTOP)
	f.agent("second", f.url)
	f.eventually("another agent runs the task", func() bool { return f.alive("pid.2") })
	f.touch("go")
	end := f.end(run)
	if end.State != "succeeded" || end.Stages[0].Tasks[0].Agent != "second" {
		t.Fatalf("%s by %s", states(end), end.Stages[0].Tasks[0].Agent)
	}
	syscall.Kill(first.cmd.Process.Pid, syscall.SIGCONT)
	f.eventually("the first agent has killed its work", func() bool { return !f.alive("pid.1") })
	f.eventually("the first agent is told that its lease is over", func() bool {
		return strings.Contains(first.log.String(), "lease") || f.number("select count(*) from agents where name = 'first' and seen_at > now() - interval '2 seconds'") == 1
	})
	if n := f.number("select count(*) from events where kind = 'task.completed' and run_id = $1", run); n != 1 {
		t.Errorf("%d results, want 1", n)
	}
	if again := f.show(run); states(again) != states(end) {
		t.Errorf("the late agent changed %s to %s", states(end), states(again))
	}
}

// The job table is emptied in the middle of everything: every run still ends.
func TestJobTableEmptied(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 3*time.Second)
	f.server(f.url)
	f.worker()
	f.agent("one", f.url)
	var runs []int64
	for range 5 {
		runs = append(runs, f.submit("stages: [{stage: a, steps: [{sh: sleep 0.2; echo a}]}, {stage: b, steps: [{sh: echo b}]}]"))
		f.exec("truncate river.river_job")
	}
	for _, run := range runs {
		if end := f.end(run); end.State != "succeeded" {
			t.Error(states(end))
		}
		f.exec("truncate river.river_job")
	}
	t.Cleanup(func() {
		if t.Failed() {
			var out string
			f.db.Owner.QueryRow(context.Background(), "select (select string_agg(row(kind, state, attempt, scheduled_at, errors)::text, E'\n') from river.river_job) || E'\n' || (select string_agg(row(l.ended_at, end_reason, log_bytes, log_total, log_done_at, log_object, now())::text, E'\n') from leases l)").Scan(&out)
			t.Log(out)
		}
	})
	f.eventually("the logs are compacted all the same", func() bool {
		return f.number("select count(*) from leases where log_object is null") == 0
	})
}
