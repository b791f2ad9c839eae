package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ottoci/otto/client/bundle"
	"github.com/ottoci/otto/pipeline/conventions"
)

// proposedName is what plans and diagnostics call an Ottofile that is proposed, and not there.
const proposedName = "Ottofile.yaml (proposed)"

// findOrPropose finds an Ottofile as findOttofile does, and fetches what its templates come from. Where there is none, it is the one that conventions propose.
func (a *app) findOrPropose(ctx context.Context, args []string) (*ottofile, error) {
	file, err := findOttofile(args)
	var missing *missingOttofile
	switch {
	case err == nil:
		return file, a.fetchTemplates(ctx, file)
	case !errors.As(err, &missing):
		return nil, err
	}
	proposal, failed := a.propose(ctx, missing.dir)
	if failed != nil {
		return nil, failed
	}
	if len(proposal.Findings) == 0 {
		a.sayReasons(proposal)
		return nil, err
	}
	return &ottofile{
		dir: missing.dir, name: proposedName, path: filepath.Join(missing.dir, proposedName),
		data: proposal.Ottofile(), proposal: &proposal,
	}, nil
}

// propose looks through the part of a tree that would run: what git ignores is not in it.
func (a *app) propose(ctx context.Context, dir string) (conventions.Proposal, error) {
	ignored, err := bundle.Ignored(ctx, dir, a.env.all)
	if err != nil {
		return conventions.Proposal{}, fmt.Errorf("ask git what it ignores in %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return conventions.Proposal{}, err
	}
	defer root.Close()
	return conventions.Propose(root.FS(), ignored), nil
}

func (a *app) sayReasons(p conventions.Proposal) {
	for _, line := range p.Reasons() {
		a.say("%s", line)
	}
}

// absolute says where a directory is, if that can be found out.
func absolute(dir string) string {
	if at, err := filepath.Abs(dir); err == nil {
		return at
	}
	return dir
}

// sayProposal says of an Ottofile that is not there why it is proposed.
func (a *app) sayProposal(file *ottofile) {
	if file.proposal == nil {
		return
	}
	a.say("there is no Ottofile in %s; conventions propose this plan:\n", absolute(file.dir))
	a.sayReasons(*file.proposal)
	a.say("")
}

// showProposed shows an Ottofile that is not there.
func (a *app) showProposed(file *ottofile) {
	if file.proposal != nil {
		a.say("there is no Ottofile in %s; conventions propose this one:\n\n%s", absolute(file.dir), file.data)
	}
}

// agree asks, once, whether to run an Ottofile that is not there.
func (a *app) agree(file *ottofile) error {
	if file.proposal == nil {
		return nil
	}
	if !isTerminal(a.stdin) || !isTerminal(a.stderr) {
		return withHint(errors.New("nobody can be asked whether to run what is proposed"),
			"otto run --yes runs it, otto init writes it to Ottofile.yaml")
	}
	fmt.Fprint(a.stderr, "Run this? [y/N] ")
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n') // no answer is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	a.say("nothing was run; otto init writes it to Ottofile.yaml, to be changed")
	return exit(codeFailed)
}
