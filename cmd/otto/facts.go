package main

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/client/bundle"
	"github.com/ottoci/otto/pipeline"
)

// factFlags say for which event and parameters a file is planned.
type factFlags struct {
	params   []string
	event    string
	branch   string
	tag      string
	sha      string
	message  string
	changed  []string
	cron     string
	upstream string
	pull     pipeline.PullRequest
	cmd      *cobra.Command
}

func (f *factFlags) add(cmd *cobra.Command) {
	f.cmd = cmd
	set := cmd.Flags()
	set.StringArrayVarP(&f.params, "param", "p", nil, "parameter `name=value` of the Ottofile; may be repeated")
	set.StringVar(&f.event, "event", "", "the `kind` of event: manual (the default), push, pull_request, tag, schedule or upstream")
	set.StringVar(&f.branch, "branch", "", "the branch; of a pull request, the one to be merged")
	set.StringVar(&f.tag, "tag", "", "the tag (event tag)")
	set.StringVar(&f.sha, "sha", "", "the commit")
	set.StringVar(&f.message, "message", "", "the commit's message")
	set.StringArrayVar(&f.changed, "changed", nil, "`path` that the event changed, or a pattern such as 'web/**' for files of the tree; may be repeated")
	set.StringVar(&f.cron, "cron", "", "the schedule that fired, as the Ottofile writes it (event schedule)")
	set.StringVar(&f.upstream, "upstream", "", "the `project` whose run has succeeded (event upstream)")
	set.IntVar(&f.pull.Number, "pr", 0, "`number` of the pull request (event pull_request)")
	set.StringVar(&f.pull.Title, "title", "", "its title")
	set.StringVar(&f.pull.Author, "author", "", "its author")
	set.StringVar(&f.pull.Base, "base", "", "the branch that it is to be merged into")
	set.StringArrayVar(&f.pull.Labels, "label", nil, "a label of it; may be repeated")
	set.BoolVar(&f.pull.Fork, "from-fork", false, "it comes from another repository")
	set.BoolVar(&f.pull.Draft, "draft", false, "it is a draft")
}

// The flags that only one kind of event has. The first of a kind implies it.
var flagsOfEvents = []struct {
	kind  pipeline.EventKind
	flags []string
}{
	{pipeline.EventTag, []string{"tag"}},
	{pipeline.EventPullRequest, []string{"pr", "title", "author", "base", "label", "from-fork", "draft"}},
	{pipeline.EventSchedule, []string{"cron"}},
	{pipeline.EventUpstream, []string{"upstream"}},
}

// facts are what the file is planned with: what the flags say and, where git knows it, what the tree is at.
func (a *app) facts(ctx context.Context, flags *factFlags, file *ottofile) (pipeline.Facts, error) {
	tree := a.workingTree(ctx, file)
	facts := pipeline.Facts{Tree: tree, Limits: a.limits}
	kind, err := flags.kind()
	if err != nil {
		return facts, err
	}
	if facts.Params, err = flags.parameters(); err != nil {
		return facts, err
	}
	facts.Event = pipeline.Event{Kind: kind, Branch: flags.branch, Tag: flags.tag, SHA: flags.sha, Message: flags.message, Cron: flags.cron}
	switch kind {
	case pipeline.EventPullRequest:
		pull := flags.pull
		facts.Event.PullRequest = &pull
	case pipeline.EventUpstream:
		facts.Event.Upstream = &pipeline.Upstream{Project: flags.upstream, State: "succeeded"}
	case pipeline.EventManual, pipeline.EventPush:
		head := bundle.HeadOf(ctx, file.dir, a.env.all)
		if flags.branch == "" {
			facts.Event.Branch = head.Branch
		}
		if flags.sha == "" && facts.Event.Branch == head.Branch {
			facts.Event.SHA = head.SHA
			if kind == pipeline.EventPush && !flags.given("message") {
				facts.Event.Message = head.Message // [skip ci] counts
			}
		}
	}
	facts.Event.Changed, err = flags.changes(tree)
	return facts, err
}

// kind is that of the event, said or implied, once nothing speaks against it.
func (f *factFlags) kind() (pipeline.EventKind, error) {
	kind, by := pipeline.EventKind(strings.ReplaceAll(f.event, "-", "_")), "--event "+f.event
	switch kind {
	case "", pipeline.EventManual, pipeline.EventPush, pipeline.EventPullRequest, pipeline.EventTag, pipeline.EventSchedule, pipeline.EventUpstream:
	default:
		return "", f.wrong("give manual, push, pull_request, tag, schedule or upstream", "%q is no kind of event", f.event)
	}
	for _, of := range flagsOfEvents {
		name := of.flags[0]
		if kind == "" && f.given(name) {
			kind, by = of.kind, "--"+name
		}
		for _, flag := range of.flags {
			if f.given(flag) && kind != of.kind {
				if kind == "" {
					return "", f.wrong("say which one: --"+name, "--%s is of the event %s", flag, of.kind)
				}
				return "", f.wrong("leave out one of them", "--%s is of the event %s, and %s is not", flag, of.kind, by)
			}
		}
		if kind == of.kind && !f.given(name) {
			return "", f.wrong("say which one: --"+name, "the event %s needs --%s", kind, name)
		}
	}
	switch {
	case kind == pipeline.EventTag && f.given("branch"):
		return "", f.wrong("leave out one of them", "--branch does not go with a tag: a tag is on no branch")
	case kind == pipeline.EventPullRequest && f.pull.Number <= 0:
		return "", f.wrong("", "the number of a pull request is above 0, and --pr is %d", f.pull.Number)
	case kind == "":
		kind = pipeline.EventManual
	}
	return kind, nil
}

func (f *factFlags) given(flag string) bool { return f.cmd.Flags().Changed(flag) }

// wrong is a command line that cannot be meant.
func (f *factFlags) wrong(hint, format string, args ...any) error {
	err := usage(f.cmd, format, args...)
	if hint == "" {
		return err
	}
	return withHint(err, "%s", hint)
}

// parameters are texts: their declarations say what they are read as.
func (f *factFlags) parameters() (map[string]any, error) {
	if len(f.params) == 0 {
		return nil, nil
	}
	params := map[string]any{}
	for _, p := range f.params {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, f.wrong("write name=value", "-p %q is no parameter", p)
		}
		if _, twice := params[name]; twice {
			return nil, f.wrong("", "the parameter %s is given twice", name)
		}
		params[name] = value
	}
	return params, nil
}

// changes are the paths that the event changed; nil if nothing is said of them.
func (f *factFlags) changes(tree *workingTree) ([]string, error) {
	var changed []string
	for _, word := range f.changed {
		at := path.Clean(filepath.ToSlash(word))
		switch {
		case word == "" || !filepath.IsLocal(at):
			return nil, f.wrong("give it as the repository has it, such as web/index.html", "--changed %q is not a path in the tree", word)
		case !strings.ContainsAny(at, "*?[{"):
			changed = append(changed, at)
			continue
		case !doublestar.ValidatePattern(at):
			return nil, f.wrong("", "--changed %q is not a pattern", word)
		}
		files, err := tree.look()
		if err != nil {
			return nil, err
		}
		before := len(changed)
		for _, name := range files.Names() {
			if ok, _ := doublestar.Match(at, name); ok {
				changed = append(changed, name)
			}
		}
		if len(changed) == before {
			return nil, f.wrong("give the path of a file that is not there as it is, without a pattern", "no file in %s matches --changed %q", tree.dir, word)
		}
	}
	return changed, nil
}

// sourceEvent is an event as servers take it.
func sourceEvent(e pipeline.Event) *client.SourceEvent {
	out := &client.SourceEvent{Kind: string(e.Kind), Branch: e.Branch, Tag: e.Tag, SHA: e.SHA, Message: e.Message, Changed: e.Changed, Cron: e.Cron}
	if e.PullRequest != nil {
		pull := client.PullRequest(*e.PullRequest)
		out.PullRequest = &pull
	}
	if e.Upstream != nil {
		up := client.Upstream(*e.Upstream)
		out.Upstream = &up
	}
	return out
}

// workingTree is the source around an Ottofile. It is looked at once something asks: that takes long in a large tree.
type workingTree struct {
	dir  string
	look func() (*bundle.Files, error)
	read map[string]string // what planning has read, for who has only the Ottofile
}

func (a *app) workingTree(ctx context.Context, file *ottofile) *workingTree {
	return &workingTree{dir: file.dir, read: map[string]string{}, look: sync.OnceValues(func() (*bundle.Files, error) {
		config, err := a.source(file)
		if err != nil {
			return nil, err
		}
		return bundle.List(ctx, config)
	})}
}

func (t *workingTree) ReadFile(path string) ([]byte, error) {
	files, err := t.look()
	if err != nil {
		return nil, err
	}
	data, err := files.ReadFile(path)
	if err == nil {
		t.read[path] = string(data)
	}
	return data, err
}

func (t *workingTree) Digests(selected func(path string) bool) (map[string]string, error) {
	files, err := t.look()
	if err != nil {
		return nil, fmt.Errorf("list the files in %s: %w", t.dir, err)
	}
	return files.Digests(selected)
}
