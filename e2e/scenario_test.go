package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/client"
)

// Scenarios of the ancestors, on real processes.
func TestScenarios(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 30*time.Second)
	f.server(f.url)
	f.worker()
	f.agent("one", f.url)
	f.agent("two", f.url)
	makefile := "all:\\n\\tfalse\\n"
	for name, c := range map[string]struct{ ottofile, want string }{
		"linear":   {"stages: [{stage: a, steps: [{sh: 'true'}]}, {stage: b, steps: [{sh: exit 1}]}, {stage: c, steps: [{sh: 'true'}]}]", "failed: succeeded[a=succeeded] failed[b=failed] skipped[c=skipped]"},
		"parallel": {"stages: [{parallel: [{task: Test, steps: [{sh: exit 1}]}, {task: UAT, steps: [{sh: sleep 0.3; echo done}]}]}, {stage: after, steps: [{sh: 'true'}]}]", "failed: failed[Test=failed UAT=succeeded] skipped[after=skipped]"},
		"fanout":   {"stages: [{fanout: [{task: Test, steps: [{sh: sleep 0.3; exit 1}]}, {task: UAT, steps: [{sh: sleep 60}]}]}]", "failed: failed[Test=failed UAT=aborted]"},
		"code_2":   {"steps: [{sh: exit 2}]", "aborted: aborted[main=aborted]"},
		"code_3":   {"stages: [{stage: a, steps: [{sh: exit 3}]}, {stage: b, steps: [{sh: 'true'}]}]", "unstable: unstable[a=unstable] succeeded[b=succeeded]"},
		"code_127": {"steps: [{sh: exit 127}]", "failed: failed[main=failed]"},
		"signal":   {"steps: [{sh: kill -9 $$}]", "failed: failed[main=failed]"},
		"timeout":  {"stages: [{stage: a, timeout: 1s, steps: [{sh: sleep 60}]}]", "failed: failed[a=failed]"},
		"remapped": {"exit_codes: {2: failed}\nsteps: [{sh: \"printf '" + makefile + "' > Makefile; make\"}]", "failed: failed[main=failed]"},
		"promoted": {"stages: [{parallel: [{task: a, steps: [{sh: 'true'}]}, {task: b, steps: [{sh: exit 3}]}, {task: c, steps: [{sh: exit 1}]}, {task: d, steps: [{sh: exit 2}]}]}]",
			"failed: failed[a=succeeded b=unstable c=failed d=aborted]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			end := f.end(f.submit(c.ottofile))
			if got := states(end); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			task := end.Stages[0].Tasks[0]
			switch name {
			case "signal":
				if task.ExitCode == nil || *task.ExitCode != 137 {
					t.Errorf("exit code %v, want 137", task.ExitCode)
				}
			case "timeout":
				if task.Reason != "timeout" {
					t.Errorf("reason %q, want timeout", task.Reason)
				}
			case "fanout":
				if uat := end.Stages[0].Tasks[1]; uat.Reason != "sibling_failed" {
					t.Errorf("reason %q, want sibling_failed", uat.Reason)
				}
			}
		})
	}
}

// A step that is silent at first, or altogether, has its whole log all the same.
func TestSilentSteps(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 30*time.Second)
	f.server(f.url)
	f.worker()
	f.agent("one", f.url)
	end := f.end(f.submit("steps: [{sh: sleep 0.5; echo late}, {sh: sleep 0.3}, {sh: echo last; sleep 0.3}]"))
	f.eventually("the log is compacted", func() bool { return f.number("select count(*) from leases where log_object is not null") == 1 })
	task := end.Stages[0].Tasks[0].Task
	if got := f.log(task, 0); got != "late\nlast\n" {
		t.Errorf("the log is %q", got)
	}
	page, err := f.client().TaskLogPage(t.Context(), task, client.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var marks []string
	for _, r := range page.Items {
		if r.Kind == client.SegmentBegin || r.Kind == client.SegmentEnd {
			marks = append(marks, fmt.Sprint(r.Kind, " ", r.Step))
		}
	}
	if got, want := strings.Join(marks, ", "), "begin 0, end 0, begin 1, end 1, begin 2, end 2"; got != want {
		t.Errorf("marks: %s; want %s", got, want)
	}
}

// Scenario A-01: the model of the state machine's author is taken as it stands, and comes back the same.
func TestAncestorsModel(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 30*time.Second)
	f.server(f.url)
	f.worker()
	f.agent("one", f.url)
	id := func(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }
	context := func(n int, name, script string) map[string]any {
		return map[string]any{"uuid": id(n), "properties": map[string]any{"name": name}, "environment": nil,
			"steps": []any{map[string]any{"uuid": id(n + 1), "context": id(n), "symbol": "sh", "parameters": []any{script}}}}
	}
	batches := []any{
		map[string]any{"mode": "Linear", "contexts": []any{context(10, "Build", "echo building")}},
		map[string]any{"mode": "Linear", "contexts": []any{context(20, "Test", "echo testing")}},
	}
	plan, err := f.client().PlanCreate(t.Context(), client.PlanCreate{Model: map[string]any{"uuid": id(1), "batches": batches}})
	if err != nil {
		t.Fatal(err)
	}
	run, err := f.client().RunCreate(t.Context(), client.RunCreate{Plan: plan.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := states(f.end(run.Run)), "succeeded: succeeded[Build=succeeded] succeeded[Test=succeeded]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Scenario A-26: two servers, three agents, 300 tasks: each is claimed once.
func TestManyTasks(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 30*time.Second)
	other := "http://" + freeAddress(t)
	f.server(f.url)
	f.server(other)
	f.worker()
	for i, url := range []string{f.url, other, f.url} {
		f.agent(fmt.Sprint("agent-", i), url)
	}
	var tasks strings.Builder
	for i := range 300 {
		fmt.Fprintf(&tasks, "      - {task: t%d, steps: [{sh: echo %d >> %s}]}\n", i, i, f.path("executions"))
	}
	run := f.submit("stages:\n  - parallel:\n" + tasks.String())
	if end := f.end(run); end.State != "succeeded" {
		t.Error(end.State)
	}
	if n, most := f.lines("executions"), f.number("select max(epoch) from tasks"); n != 300 || most != 1 {
		t.Errorf("%d executions, up to %d attempts", n, most)
	}
	if n := f.number("select count(distinct agent_id) from leases"); n != 3 {
		t.Errorf("%d of 3 agents worked", n)
	}
}

// A step of 50 MB in 500,000 lines: the log is byte for byte what it wrote, live and after compaction.
func TestBigLog(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 30*time.Second)
	f.server(f.url)
	f.worker()
	f.agent("one", f.url)
	const lines = 500_000
	pad := strings.Repeat("x", 92)
	run := f.submit(fmt.Sprintf("steps: [{sh: %s}]", yamlString(fmt.Sprintf("yes %s | head -n %d | awk '{printf \"%%07d%%s\\n\", NR, $0}'", pad, lines))))
	want := sha256.New()
	for i := 1; i <= lines; i++ {
		fmt.Fprintf(want, "%07d%s\n", i, pad)
	}
	f.eventually("the task has a log", func() bool { return f.number("select (coalesce(sum(log_bytes), 0) / 1000)::bigint from leases") > 0 })
	task := f.show(run).Stages[0].Tasks[0].Task

	live := sha256.New()
	n, err := io.Copy(live, f.stream(fmt.Sprintf("/v1/tasks/%d/log?follow=true", task)))
	if err != nil || n != lines*100 || hex.EncodeToString(live.Sum(nil)) != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("live: %d bytes of %d, %v", n, lines*100, err)
	}
	f.end(run)
	f.eventually("the log is compacted", func() bool { return f.number("select count(*) from leases where log_object is not null") == 1 })
	stored := sha256.New()
	n, err = io.Copy(stored, f.stream(fmt.Sprintf("/v1/tasks/%d/log", task)))
	if err != nil || n != lines*100 || hex.EncodeToString(stored.Sum(nil)) != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("stored: %d bytes of %d, %v", n, lines*100, err)
	}
	part, err := io.ReadAll(f.stream(fmt.Sprintf("/v1/tasks/%d/log?from_line=%d&lines=2", task, 400_000)))
	if err != nil || string(part) != fmt.Sprintf("%07d%s\n%07d%s\n", 400_000, pad, 400_001, pad) {
		t.Errorf("lines 400,000 on: %q, %v", part, err)
	}
	if n := f.number("select count(*) from log_chunks"); n != 0 {
		t.Errorf("%d chunks left", n)
	}
}

// stream opens a route as plain text.
func (f *fleet) stream(path string) io.Reader {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { r.Body.Close() })
	if r.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(r.Body)
		f.t.Fatalf("%s: %s %s", path, r.Status, b)
	}
	return r.Body
}
