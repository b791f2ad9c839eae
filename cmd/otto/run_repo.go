package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/client/bundle"
)

// repoFlags say which commit of which repository runs.
type repoFlags struct{ repo, ref, commit string }

func (f *repoFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.repo, "repo", "", "run a commit of the repository at this `address`, such as https://host/team/app or git@host:team/app")
	flags.StringVar(&f.ref, "ref", "", "the `branch` or tag of it; its own branch if absent")
	flags.StringVar(&f.commit, "commit", "", "the commit of it, by its whole `name`; that of the ref now if absent")
}

func (f *repoFlags) given() bool { return f.repo != "" || f.ref != "" || f.commit != "" }

// check says what is wrong with them, and writes the repository as an address: a directory is one, too.
func (f *repoFlags) check(cmd *cobra.Command) error {
	if f.repo == "" {
		return usage(cmd, "--ref and --commit are of a repository: give --repo, too")
	}
	if info, err := os.Stat(f.repo); err == nil && info.IsDir() && !strings.Contains(f.repo, "://") {
		at, err := filepath.Abs(f.repo)
		if err != nil {
			return err
		}
		f.repo = "file://" + at
	}
	f.repo = client.RepositoryAddress(f.repo)
	if err := client.CheckRepository(f.repo); err != nil {
		return usage(cmd, "%w", err)
	}
	if f.ref != "" {
		if err := client.CheckRef(f.ref); err != nil {
			return usage(cmd, "%w", err)
		}
	}
	if f.commit != "" {
		if err := client.CheckCommit(f.commit); err != nil {
			return usage(cmd, "%w", err)
		}
	}
	return nil
}

// repoRun is a run of a repository that a person asks for.
type repoRun struct {
	from    *repoFlags
	given   *factFlags
	args    []string
	project string

	priority int
}

// runRepo plans the Ottofile of a commit, with the person's own access to the repository, and lets agents check the commit out with
// theirs.
func (a *app) runRepo(cmd *cobra.Command, r repoRun, show viewFlags) error {
	if err := r.from.check(cmd); err != nil {
		return err
	}
	ctx := cmd.Context()
	at, dir, err := a.fetchRun(ctx, r.from)
	if err != nil {
		return withHint(err, "git must be able to read it: git ls-remote %s", r.from.repo)
	}
	defer os.RemoveAll(dir)
	commit, err := bundle.OpenCommit(ctx, dir, at.SHA, a.env.all)
	if err != nil {
		return err
	}
	below := ""
	if len(r.args) > 0 {
		below = filepath.ToSlash(r.args[0])
	}
	file, tree, err := fileOf(commit, shortSHA(at.SHA), below)
	if err != nil {
		return err
	}
	read := &committedTree{Commit: tree, read: map[string]string{}}
	file.dir, file.tree = dir, read
	if err := a.fetchTemplates(ctx, file); err != nil {
		return err
	}
	facts, err := a.facts(ctx, r.given, file)
	if err != nil {
		return err
	}
	facts.Tree, facts.Event.SHA = read, at.SHA
	if !r.given.given("branch") && facts.Event.Branch == "" && facts.Event.Tag == "" {
		facts.Event.Branch = at.Branch
	}
	plan, diagnostics := file.plan(facts)
	a.printDiagnostics(diagnostics)
	if plan == nil {
		return exit(codeFailed)
	}
	_, digest, err := plan.Encode()
	if err != nil {
		return err
	}
	from := &client.Checkout{Repository: r.from.repo, Ref: first(r.from.ref, at.Branch), Commit: at.SHA}
	return a.session(ctx, show, func(ctx context.Context, c *connection) (client.Run, error) {
		return a.submit(ctx, c, &submission{file: file, facts: facts, plan: plan, digest: digest, project: r.project, priority: r.priority, from: from})
	})
}

func shortSHA(sha string) string { return sha[:min(len(sha), 10)] }

// fetchRun finds the commit that is meant, and fetches it into a directory for planning.
func (a *app) fetchRun(ctx context.Context, from *repoFlags) (at bundle.Head, dir string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, errFetchTimeout)
	defer cancel()
	a.say("fetching %s", from.repo)
	repo := bundle.Remote{URL: from.repo, Environ: a.env.all}
	switch {
	case from.commit != "":
		at.SHA = from.commit
	case from.ref != "":
		at, err = repo.Tip(ctx, from.ref)
	default:
		at, err = repo.Default(ctx)
	}
	if err == nil {
		dir, err = repo.Fetch(ctx, at.SHA)
	}
	return at, dir, err
}

// committedTree is the tree of a commit, and what planning has read of it.
type committedTree struct {
	*bundle.Commit
	read map[string]string
}

func (t *committedTree) ReadFile(path string) ([]byte, error) {
	data, err := t.Commit.ReadFile(path)
	if err == nil {
		t.read[path] = string(data)
	}
	return data, err
}
