package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/client/bundle"
	"github.com/ottoci/otto/pipeline"
)

// viewFlags say how a run is shown.
type viewFlags struct{ json, quiet bool }

func (f *viewFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print events, output and the result as lines of JSON")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print only the result")
}

func (a *app) view(f viewFlags, out io.Writer) view {
	switch {
	case f.json && f.quiet:
		return resultOnly{newJSONView(out)}
	case f.json:
		return newJSONView(out)
	case f.quiet:
		return newQuietView(out, a.stdoutStyle())
	}
	return newLiveView(out, a.stdoutStyle())
}

// exitOfRun is the exit status section of the verbs that answer with a run's result.
func exitOfRun() string {
	return exitStatus("0  the run succeeded, or there was nothing to run", "1  it failed, or could not be started", "2  it was aborted", "3  it is unstable")
}

func newRun(a *app) *cobra.Command {
	var project string
	var priority int
	var show viewFlags
	var yes bool
	var given factFlags
	var from repoFlags
	cmd := &cobra.Command{
		Use:   "run [DIR|FILE]",
		Short: "Run an Ottofile on the working tree as it is",
		Long: `Run executes an Ottofile with the files beside it, uncommitted changes included; what git ignores stays behind.
Without an Ottofile it shows what conventions propose for the tree, and asks whether to run that.

It uses the server of OTTO_URL, or the otto up of this machine, or starts a private one and stops it afterwards. Ctrl-C
aborts the run and waits for the steps that always run; a second one kills it.

With --repo it runs a commit of a repository instead, which the agents check out by themselves: nothing is uploaded.` + exitOfRun(),
		Example: examples("otto run", "otto run ci/release.yaml", "otto run -p environment=production", "otto run --yes     # also without an Ottofile", "otto run --repo https://github.com/ottoci/otto --ref main", "otto run --json | jq -r '.log.text // empty'"),
		Args:    atMost(1, "directory or file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := a.passEnv(); err != nil {
				return usage(cmd, "%w", err)
			}
			if priority < -100 || priority > 100 {
				return usage(cmd, "the priority is %d: it must be from -100 to 100", priority)
			}
			if from.given() {
				return a.runRepo(cmd, repoRun{&from, &given, args, project, priority}, show)
			}
			file, err := a.findOrPropose(cmd.Context(), args)
			if err != nil {
				return err
			}
			a.showProposed(file)
			if !yes {
				if err := a.agree(file); err != nil {
					return err
				}
			}
			facts, err := a.facts(cmd.Context(), &given, file)
			if err != nil {
				return err
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
			return a.session(cmd.Context(), show, func(ctx context.Context, c *connection) (client.Run, error) {
				return a.submit(ctx, c, &submission{file: file, facts: facts, plan: plan, digest: digest, project: project, priority: priority})
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "run what is proposed, without asking")
	cmd.Flags().StringVar(&project, "project", "", "the project that the run belongs to")
	cmd.Flags().IntVar(&priority, "priority", 0, "go before the project's other runs as if its tasks had waited so many `minutes` longer, from -100 to 100")
	a.addPassEnv(cmd.Flags(), "the agent of a private server")
	given.add(cmd)
	from.add(cmd.Flags())
	show.add(cmd)
	return ownSignals(cmd)
}

// session connects to a server that can work, starts a run there, shows it, and ends with its result.
func (a *app) session(ctx context.Context, show viewFlags, start func(context.Context, *connection) (client.Run, error)) error {
	survivePipes()
	s := &session{app: a, signals: make(chan os.Signal, 3)}
	signal.Notify(s.signals, endings...)
	defer signal.Stop(s.signals)
	ctx, s.cancel = context.WithCancelCause(ctx)
	defer s.cancel(nil)
	var obeying sync.WaitGroup
	defer obeying.Wait()
	defer s.cancel(nil)
	obeying.Go(func() { s.obey(ctx) })

	c, err := a.connect(ctx, needWork)
	if err != nil {
		return s.verdict(ctx, err)
	}
	defer s.leave(c)
	obeying.Go(func() { s.mindServer(ctx, c) })
	created, err := start(ctx, c)
	if err != nil {
		if errors.Is(err, errUnwatched) {
			return nil
		}
		return s.verdict(ctx, err)
	}
	s.started(c, created.Run)
	w := &watcher{client: c.Client, run: client.RunNumber(created.Run), view: a.view(show, s.output()), say: a.say}
	result, err := w.watch(ctx)
	if err != nil {
		return s.verdict(ctx, err)
	}
	s.over()
	if err := s.waitForOthers(ctx, c); err != nil {
		a.say("otto: %v", err)
	}
	return codeOf(result.State)
}

// submission is what otto run asks a server for.
type submission struct {
	file     *ottofile
	facts    pipeline.Facts
	plan     *pipeline.Plan
	digest   string // of the plan
	project  string
	priority int
	from     *client.Checkout // what agents check out, instead of the working tree
}

// request asks a server for the plan that was made here, with all that planning has looked at.
func (s *submission) request() client.PlanCreate {
	in := client.PlanCreate{
		Ottofile: string(s.file.data), File: s.file.name, Event: sourceEvent(s.facts.Event), Params: s.facts.Params, Hashes: s.plan.Inputs.Hashes,
	}
	switch tree := s.facts.Tree.(type) {
	case *workingTree:
		in.Files = tree.read
	case *committedTree:
		in.Files = tree.read
	}
	for r, f := range s.file.remotes {
		in.Remotes = append(in.Remotes, client.RemoteFile{Repo: r.Repo, Ref: r.Ref, Path: r.Path, Commit: f.Commit, Text: string(f.Data)})
	}
	return in
}

// submit uploads the working tree, if the server does not have it, and creates the run.
//
// The plan is stored before the run, so that the run starts at once and executes what was compiled here.
func (a *app) submit(ctx context.Context, c *connection, s *submission) (client.Run, error) {
	if s.from != nil {
		plan, err := a.storePlan(ctx, c, s)
		if err != nil {
			return client.Run{}, err
		}
		return c.RunCreate(ctx, client.RunCreate{
			Project: s.project, Priority: s.priority, Repository: s.from.Repository, Ref: s.from.Ref, Commit: s.from.Commit, Plan: plan, Event: sourceEvent(s.facts.Event), Params: s.facts.Params,
		})
	}
	packed, err := a.pack(ctx, s.file)
	if err != nil {
		return client.Run{}, err
	}
	defer packed.Close()
	if _, err := c.SourceShow(ctx, packed.Digest); client.IsStatus(err, 404) {
		p := a.progress("uploading the source")
		_, err = c.SourceUpload(ctx, packed.Digest, p.reader(packed.Reader(), packed.Bytes), packed.Bytes)
		p.done()
		if err != nil {
			return client.Run{}, fmt.Errorf("upload the source: %w", err)
		}
	} else if err != nil {
		return client.Run{}, err
	}
	plan, err := a.storePlan(ctx, c, s)
	if err != nil {
		return client.Run{}, err
	}
	return c.RunCreate(ctx, client.RunCreate{
		Project: s.project, Priority: s.priority, Source: packed.Digest, Plan: plan, Event: sourceEvent(s.facts.Event), Params: s.facts.Params,
	})
}

// storePlan lets the server plan, and gives the digest of its plan.
func (a *app) storePlan(ctx context.Context, c *connection, s *submission) (string, error) {
	plan, err := c.PlanCreate(ctx, s.request())
	if err == nil && plan.Digest != s.digest {
		a.say("%s the server plans this file otherwise than this version of otto: its plan runs", a.stderrStyle().paint("33", "warning:"))
	}
	return plan.Digest, err
}

// source says what of the tree around an Ottofile runs.
func (a *app) source(file *ottofile) (bundle.Config, error) {
	data, err := a.dataDir()
	if err != nil && first(a.flags.url, a.env.url) == "" {
		return bundle.Config{}, err
	}
	return bundle.Config{Dir: file.dir, Always: []string{file.name}, Never: words(data), Environ: a.env.all}, nil
}

// pack bundles the tree around an Ottofile.
func (a *app) pack(ctx context.Context, file *ottofile) (*bundle.Bundle, error) {
	config, err := a.source(file)
	if err != nil {
		return nil, err
	}
	p := a.progress("packing the source")
	config.Progress = func(done, of bundle.Size) { p.update(done.Bytes, of.Bytes) }
	packed, err := bundle.Make(ctx, config)
	p.done()
	var large *bundle.TooLargeError
	if errors.As(err, &large) {
		hint := "let git ignore what is not source; the largest are"
		for i, share := range large.Largest {
			if i > 0 {
				hint += ","
			}
			hint += fmt.Sprintf(" %s (%s)", share.Name, size(share.Bytes))
		}
		return nil, withHint(err, "%s", hint)
	}
	if err != nil {
		return nil, fmt.Errorf("pack the source in %s: %w", file.dir, err)
	}
	for _, w := range packed.Warnings {
		a.say("%s %s", a.stderrStyle().paint("33", "warning:"), w)
	}
	return packed, nil
}
