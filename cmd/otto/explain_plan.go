package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/client/bundle"
	"github.com/ottoci/otto/pipeline"
)

// explained is a plan, and what is known beside it.
type explained struct {
	name   string // of its file, or of the run
	plan   *pipeline.Plan
	body   []byte // its canonical bytes
	digest string
	run    *client.RunDetail // if it is that of a run
	server *connection       // if one was asked for
}

// withExplained finds the plan that an argument means, and connects to a server if that or a flag needs one.
func (a *app) withExplained(cmd *cobra.Command, f *explainFlags, args []string, do func(context.Context, *explained) error) error {
	if !f.agents && !meansRun(args) {
		x, err := a.planOf(cmd.Context(), &f.facts, args)
		if err != nil {
			return err
		}
		return do(cmd.Context(), x)
	}
	return a.onServer(cmd, func(ctx context.Context, c *connection) error {
		x, err := a.planOn(ctx, c, &f.facts, args)
		if err != nil {
			return err
		}
		x.server = c
		return do(ctx, x)
	})
}

// meansRun says whether an argument is a run: a number, a run id or latest, and no file of that name.
func meansRun(args []string) bool {
	if len(args) == 0 || exists(args[0]) {
		return false
	}
	number, err := strconv.ParseInt(args[0], 10, 64)
	return err == nil && number > 0 || args[0] == "latest" || len(args[0]) == 36 && strings.Count(args[0], "-") == 4
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// planOn is the plan that an argument means, if need be on a server.
func (a *app) planOn(ctx context.Context, c *connection, given *factFlags, args []string) (*explained, error) {
	if !meansRun(args) {
		return a.planOf(ctx, given, args)
	}
	run, err := c.RunShow(ctx, args[0])
	if err != nil {
		return nil, err
	}
	body, err := c.RunPlanShow(ctx, client.RunNumber(run.Run.Run), client.FormatPlan)
	if err != nil {
		return nil, err
	}
	x := &explained{name: fmt.Sprintf("run %d", run.Run.Run), body: body, run: &run}
	if err := json.Unmarshal(body, &x.plan); err != nil {
		return nil, fmt.Errorf("read the plan of run %d: %w", run.Run.Run, err)
	}
	sum := sha256.Sum256(body)
	x.digest = "sha256:" + hex.EncodeToString(sum[:])
	return x, nil
}

// any is the first of the flags that was given; empty if none was.
func (f *factFlags) any() (given string) {
	all := &cobra.Command{}
	new(factFlags).add(all)
	all.Flags().VisitAll(func(flag *pflag.Flag) {
		if given == "" && f.given(flag.Name) {
			given = flag.Name
		}
	})
	return given
}

// planOf compiles the Ottofile of a directory, a file or a commit.
func (a *app) planOf(ctx context.Context, given *factFlags, args []string) (*explained, error) {
	file, commit, err := a.findSource(ctx, args)
	if err != nil {
		return nil, err
	}
	a.sayProposal(file)
	facts, err := a.facts(ctx, given, file)
	if err != nil {
		return nil, err
	}
	if commit != nil {
		facts.Tree = commit
		if facts.Event.SHA != "" && !given.given("sha") {
			facts.Event.SHA = commit.SHA
		}
	}
	plan, diagnostics := file.plan(facts)
	a.printDiagnostics(diagnostics)
	if plan == nil {
		return nil, exit(codeFailed)
	}
	return planned(file.name, plan)
}

func planned(name string, plan *pipeline.Plan) (*explained, error) {
	body, digest, err := plan.Encode()
	if err != nil {
		return nil, err
	}
	return &explained{name: name, plan: plan, body: body, digest: digest}, nil
}

// findSource reads the Ottofile that an argument names. What is no file may be a commit.
func (a *app) findSource(ctx context.Context, args []string) (*ottofile, *bundle.Commit, error) {
	if len(args) == 0 || exists(args[0]) {
		file, err := a.findOrPropose(ctx, args)
		return file, nil, err
	}
	file, commit, err := a.committed(ctx, args[0])
	if errors.Is(err, bundle.ErrNoCommit) {
		return nil, nil, fmt.Errorf("%s is no file, no directory and no commit here", args[0])
	}
	return file, commit, err
}

// committed reads the Ottofile of a commit, as it is below the working directory: REVISION or REVISION:PATH.
func (a *app) committed(ctx context.Context, word string) (*ottofile, *bundle.Commit, error) {
	revision, at, _ := strings.Cut(word, ":")
	commit, err := bundle.OpenCommit(ctx, ".", revision, a.env.all)
	if err != nil {
		return nil, nil, err
	}
	return fileOf(commit, revision, at)
}

// fileOf reads the Ottofile of a commit: the one at a path, or the one in the directory there. It is called by the revision.
func fileOf(commit *bundle.Commit, revision, at string) (*ottofile, *bundle.Commit, error) {
	var name string
	dir := at
	if names := commit.Names(path.Dir(at)); at != "" && slices.Contains(names, path.Base(at)) {
		dir, name = path.Dir(at), path.Base(at)
	} else if name, _ = pipeline.FindOttofile(commit.Names(first(dir, "."))); name == "" {
		return nil, nil, fmt.Errorf("commit %.10s has no Ottofile in %s", commit.SHA, first(dir, "this directory"))
	}
	data, err := commit.ReadFile(path.Join(dir, name))
	if err != nil {
		return nil, nil, err
	}
	file := &ottofile{dir: first(dir, "."), name: name, path: revision + ":" + path.Join(dir, name), data: data}
	return file, commit.Below(dir), nil
}
