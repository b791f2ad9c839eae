package show_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// told writes an outline so that a file can hold it.
func told(o show.Outline) string {
	var b strings.Builder
	facts := func(depth int, list []show.Fact) {
		for _, f := range list {
			fmt.Fprintf(&b, "%s%d %s: %s\t%s\n", strings.Repeat("  ", depth), f.Weight, f.Name, f.Text, f.Pointer)
		}
	}
	var item func(depth int, i *show.Item)
	item = func(depth int, i *show.Item) {
		fmt.Fprintf(&b, "%s%s %q %s", strings.Repeat("  ", depth), i.Kind, i.Name, i.Verdict)
		if i.Why != "" {
			b.WriteString(" because " + i.Why)
		}
		b.WriteByte('\n')
		facts(depth+1, i.Facts)
		for n := range i.Items {
			item(depth+1, &i.Items[n])
		}
	}
	facts(0, o.Common)
	for n := range o.Stages {
		item(0, &o.Stages[n])
	}
	return b.String()
}

func TestOutline(t *testing.T) {
	t.Parallel()
	o := show.Of(rich())
	golden(t, "outline.txt", told(o))
	if stages, tasks, omitted, later := o.Count(); stages != 7 || tasks != 9 || omitted != 2 || later != 2 {
		t.Error(stages, tasks, omitted, later)
	}
}

func TestGraphs(t *testing.T) {
	t.Parallel()
	golden(t, "rich.mmd", show.Mermaid(rich()))
	picture := show.SVG(rich())
	golden(t, "rich.svg", picture)
	for _, p := range []*pipeline.Plan{rich(), {}, large(100)} {
		d := xml.NewDecoder(strings.NewReader(show.SVG(p)))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWhy(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		"/stages/0/tasks/0/timeout_ms":        "/stages/0/tasks/0/timeout_ms=3600000 default: a task may take 1h unless it says otherwise",
		"build.timeout":                       "/stages/0/tasks/0/timeout_ms=3600000 default: a task may take 1h unless it says otherwise",
		"build.steps.1.sh":                    `/stages/0/tasks/0/steps/0/sh="go build -o bin/web ./cmd/web" Ottofile.yaml:11:3`,
		"build.steps.2":                       `/stages/0/tasks/0/steps/1/dir="web" Ottofile.yaml:13:3; /stages/0/tasks/0/steps/1/sh="./bin/web --version" Ottofile.yaml:12:3`,
		"build.steps./bin/web --version.dir":  "",
		"build.steps../bin/web --version.dir": `/stages/0/tasks/0/steps/1/dir="web" Ottofile.yaml:13:3`,
		"build.env.CGO_ENABLED":               `/stages/0/tasks/0/env/CGO_ENABLED="0" Ottofile.yaml:2:22`,
		"build.retries.delay":                 `/stages/0/tasks/0/retries/delay_ms=30000 Ottofile.yaml:10:3`,
		"unit.image":                          `/stages/1/tasks/0/image="golang:1.25" Ottofile.yaml:20:3; /stages/1/tasks/1/image="golang:1.26" Ottofile.yaml:20:3`,
		"unit (1.26).image":                   `/stages/1/tasks/1/image="golang:1.26" Ottofile.yaml:20:3`,
		"checks.mode":                         `/stages/1/mode="fanout" Ottofile.yaml:19:3`,
		"deploy.when":                         `/stages/2/tasks/0/when/expr="outputs.build.version != \"\" && params.environment == \"production\"" Ottofile.yaml:30:3`,
		"deploy.when.verdict":                 `/stages/2/tasks/0/when/verdict="later" Ottofile.yaml:30:3`,
		"build.nothing":                       "",
		"nothing":                             "",
		"/stages/0/tasks/9":                   "",
		"/stages/0/tasks/0/retries/nothing":   "",
	} {
		reasons, err := show.Why(rich(), field)
		var parts []string
		for _, r := range reasons {
			parts = append(parts, fmt.Sprintf("%s=%s %s", r.Pointer, r.Value, show.OriginText(r.Origin)))
		}
		if got := strings.Join(parts, "; "); got != want || (want == "") != (err != nil) {
			t.Errorf("%s:\n got %s (%v)\nwant %s", field, got, err, want)
		}
	}
	if reasons, err := show.Why(rich(), "/"); err != nil || len(reasons) != len(rich().Origins) {
		t.Error(len(reasons), err)
	}
}

func TestNoStart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		trigger pipeline.Trigger
		want    string
	}{
		{pipeline.Trigger{}, ""},
		{pipeline.Trigger{Starts: true, Filter: "on.push"}, ""},
		{pipeline.Trigger{Filter: "on.push.branches", Reason: `"x" matches none of main`}, `on.push.branches: "x" matches none of main`},
	} {
		if got := show.NoStart(&pipeline.Plan{Trigger: row.trigger}); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}

func TestEventText(t *testing.T) {
	t.Parallel()
	for want, event := range map[string]pipeline.Event{
		"asked for by hand":                          {},
		"push to main at 3f2a1c9d00, 1 path changed": {Kind: pipeline.EventPush, Branch: "main", SHA: "3f2a1c9d00112233", Changed: []string{"a"}},
		"tag v1":                        {Kind: pipeline.EventTag, Tag: "v1"},
		"schedule 0 3 * * *":            {Kind: pipeline.EventSchedule, Cron: "0 3 * * *"},
		"run of lib that has succeeded": {Kind: pipeline.EventUpstream, Upstream: &pipeline.Upstream{Project: "lib", State: "succeeded"}},
		"pull request 7 into main, from a fork, labelled hotfix": {Kind: pipeline.EventPullRequest, PullRequest: &pipeline.PullRequest{Number: 7, Base: "main", Fork: true, Labels: []string{"hotfix"}}},
	} {
		if got := show.EventText(event); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOriginText(t *testing.T) {
	t.Parallel()
	for want, origin := range map[string]pipeline.Origin{
		"default":              {Kind: "default"},
		"default: it is usual": {Kind: "default", Note: "it is usual"},
		"Ottofile.yaml:2:3":    {Kind: "file", File: "Ottofile.yaml", Line: 2, Column: 3},
		"ci/go.yaml:2:3, given by -p, in template go, used at Ottofile.yaml:7:9": {
			Kind: "file", File: "ci/go.yaml", Line: 2, Column: 3, Note: "given by -p", Template: "go", Used: "Ottofile.yaml:7:9",
		},
	} {
		if got := show.OriginText(origin); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMilliseconds(t *testing.T) {
	t.Parallel()
	for ms, want := range map[int64]string{0: "0s", 30_000: "30s", 600_000: "10m", 3_600_000: "1h", 5_400_000: "1h30m", 86_400_000: "1d", 1: "1ms", 61_500: "1m1s500ms"} {
		if got := show.Milliseconds(ms); got != want {
			t.Errorf("%d: %s, want %s", ms, got, want)
		}
	}
}

func BenchmarkOutline(b *testing.B) { perTask(b, func(p *pipeline.Plan) { show.Of(p) }) }
func BenchmarkSVG(b *testing.B)     { perTask(b, func(p *pipeline.Plan) { show.SVG(p) }) }
func BenchmarkDiff(b *testing.B)    { perTask(b, func(p *pipeline.Plan) { show.Diff(p, p) }) }
func BenchmarkWhy(b *testing.B) {
	perTask(b, func(p *pipeline.Plan) {
		if _, err := show.Why(p, "task 7.timeout"); err != nil {
			b.Fatal(err)
		}
	})
}

// perTask measures plans of 1,000 and 10,000 tasks: the time for each task must not grow.
func perTask(b *testing.B, do func(*pipeline.Plan)) {
	for _, tasks := range []int{1_000, 10_000} {
		p := large(tasks)
		b.Run(fmt.Sprint(tasks), func(b *testing.B) {
			for b.Loop() {
				do(p)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(tasks), "ns/task")
		})
	}
}
