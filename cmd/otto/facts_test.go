package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline"
)

func TestFacts(t *testing.T) {
	t.Parallel()
	manual := pipeline.Event{Kind: pipeline.EventManual}
	for name, c := range map[string]struct {
		args   string
		event  pipeline.Event
		params map[string]any
	}{
		"nothing":          {"", manual, nil},
		"parameters":       {"-p a=1 -p b=x=y -p c=", manual, map[string]any{"a": "1", "b": "x=y", "c": ""}},
		"push":             {"--event push --branch main --sha 12ab --message hello", pipeline.Event{Kind: pipeline.EventPush, Branch: "main", SHA: "12ab", Message: "hello"}, nil},
		"tag_by_itself":    {"--tag v1", pipeline.Event{Kind: pipeline.EventTag, Tag: "v1"}, nil},
		"tag_and_its_kind": {"--event tag --tag v1", pipeline.Event{Kind: pipeline.EventTag, Tag: "v1"}, nil},
		"pull_request": {
			"--pr 7 --branch fix --base main --from-fork --draft --label a --label b --title T --author ana",
			pipeline.Event{Kind: pipeline.EventPullRequest, Branch: "fix", PullRequest: &pipeline.PullRequest{
				Number: 7, Title: "T", Author: "ana", Base: "main", Labels: []string{"a", "b"}, Fork: true, Draft: true,
			}}, nil,
		},
		"pull_request_with_a_dash": {"--event pull-request --pr 7", pipeline.Event{Kind: pipeline.EventPullRequest, PullRequest: &pipeline.PullRequest{Number: 7}}, nil},
		"schedule":                 {"--cron @daily", pipeline.Event{Kind: pipeline.EventSchedule, Cron: "@daily"}, nil},
		"upstream":                 {"--upstream lib", pipeline.Event{Kind: pipeline.EventUpstream, Upstream: &pipeline.Upstream{Project: "lib", State: "succeeded"}}, nil},
		"a_path_that_is_gone":      {"--changed ./web/gone.js", pipeline.Event{Kind: pipeline.EventManual, Changed: []string{"web/gone.js"}}, nil},
		"files_of_a_pattern":       {"--changed web/**", pipeline.Event{Kind: pipeline.EventManual, Changed: []string{"web/a.js", "web/in/b.js"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			facts, err := factsOf(t, plainTree(t), strings.Fields(c.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(pipeline.Facts{Event: c.event, Params: c.params}, facts, cmpopts.IgnoreFields(pipeline.Facts{}, "Tree")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFacts_contradictions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ args, want, hint string }{
		"unknown_kind":          {"--event pushed", `"pushed" is no kind of event`, "give manual, push, pull_request, tag, schedule or upstream"},
		"tag_and_push":          {"--event push --tag v1", "--tag is of the event tag, and --event push is not", "leave out one of them"},
		"two_that_imply":        {"--tag v1 --pr 7", "--pr is of the event pull_request, and --tag is not", "leave out one of them"},
		"label_without_a_pull":  {"--label x", "--label is of the event pull_request", "say which one: --pr"},
		"kind_without_its_flag": {"--event schedule", "the event schedule needs --cron", "say which one: --cron"},
		"tag_on_a_branch":       {"--tag v1 --branch main", "--branch does not go with a tag: a tag is on no branch", "leave out one of them"},
		"pull_request_zero":     {"--pr 0", "the number of a pull request is above 0, and --pr is 0", ""},
		"no_parameter":          {"-p x", `-p "x" is no parameter`, "write name=value"},
		"parameter_twice":       {"-p x=1 -p x=2", "the parameter x is given twice", ""},
		"path_outside":          {"--changed ../x", `--changed "../x" is not a path in the tree`, "give it as the repository has it, such as web/index.html"},
		"pattern_of_nothing":    {"--changed none/**", `matches --changed "none/**"`, "give the path of a file that is not there as it is, without a pattern"},
		"broken_pattern":        {"--changed web/[", `--changed "web/[" is not a pattern`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := factsOf(t, plainTree(t), strings.Fields(c.args)...)
			var wrong *usageError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want a usage error with %q", err, c.want)
			}
			if hint := hintOf(err); c.hint != "" && hint != c.hint {
				t.Errorf("got the hint %q, want %q", hint, c.hint)
			}
		})
	}
}

func TestFacts_of_a_repository(t *testing.T) {
	t.Parallel()
	dir := plainTree(t)
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org"}, args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "feature/x")
	check := func(t *testing.T, args string, want pipeline.Event) {
		t.Helper()
		facts, err := factsOf(t, dir, strings.Fields(args)...)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, facts.Event); diff != "" {
			t.Error(diff)
		}
	}
	check(t, "", pipeline.Event{Kind: pipeline.EventManual}) // no commit yet
	git("add", ".")
	git("commit", "-q", "-m", "x")
	head := git("rev-parse", "HEAD")
	check(t, "", pipeline.Event{Kind: pipeline.EventManual, Branch: "feature/x", SHA: head})
	check(t, "--event push", pipeline.Event{Kind: pipeline.EventPush, Branch: "feature/x", SHA: head, Message: "x"})
	check(t, "--branch main", pipeline.Event{Kind: pipeline.EventManual, Branch: "main"}) // which commit that is nobody said
	check(t, "--tag v1", pipeline.Event{Kind: pipeline.EventTag, Tag: "v1"})
	git("checkout", "-q", "--detach")
	check(t, "", pipeline.Event{Kind: pipeline.EventManual, SHA: head})
}

func TestFacts_look_at_the_tree_when_asked(t *testing.T) {
	t.Parallel()
	facts, err := factsOf(t, plainTree(t))
	if err != nil {
		t.Fatal(err)
	}
	tree := facts.Tree.(*workingTree)
	if data, err := tree.ReadFile("web/a.js"); err != nil || string(data) != "a" || tree.read["web/a.js"] != "a" {
		t.Errorf("got %q, %v, and remembered %v", data, err, tree.read)
	}
}

// factsOf reads a command line for an Ottofile in dir.
func factsOf(t *testing.T, dir string, args ...string) (facts pipeline.Facts, err error) {
	t.Helper()
	a := &app{stdout: io.Discard, stderr: io.Discard, env: environment{home: t.TempDir(), all: os.Environ()}}
	flags := &factFlags{}
	cmd := &cobra.Command{Use: "explain", SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error {
		facts, err = a.facts(cmd.Context(), flags, &ottofile{dir: dir, name: "Ottofile.yaml", path: filepath.Join(dir, "Ottofile.yaml")})
		return nil
	}}
	flags.add(cmd)
	cmd.SetArgs(args)
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return facts, err
}

func plainTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"Ottofile.yaml": "steps", "web/a.js": "a", "web/in/b.js": "b", "other.go": "c"} {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
