package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline/conventions"
)

// initFlags say what becomes of a proposal.
type initFlags struct{ print, force, json bool }

// proposed is what otto init answers as JSON.
type proposed struct {
	Path string `json:"path,omitempty"` // absent if nothing was written
	conventions.Proposal
	Ottofile string `json:"ottofile"`
}

func newInit(a *app) *cobra.Command {
	var f initFlags
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write an Ottofile for what is in a directory",
		Long: `Init looks for the marker files of Go, Node, Rust, Python, Ruby, Maven, Gradle, Make and Docker, in the directory and
below it, and writes an Ottofile.yaml that builds and tests what they stand for. It says the reason for each task. What git
ignores, what is vendored and what tools made is not searched.` +
			exitStatus("0  the file is written", "1  there is an Ottofile already, or nothing is recognised"),
		Example: examples("otto init", "otto init --print | less", "otto init --print --json | jq -r '.findings[].marker'"),
		Args:    atMost(1, "directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return a.init(cmd.Context(), dir, f)
		},
	}
	cmd.Flags().BoolVar(&f.print, "print", false, "print the Ottofile, and write nothing")
	cmd.Flags().BoolVar(&f.force, "force", false, "overwrite the Ottofile that is there")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the findings as JSON")
	return cmd
}

func (a *app) init(ctx context.Context, dir string, f initFlags) error {
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s does not exist", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	}
	there, err := ottofileIn(dir)
	if err != nil {
		return err
	}
	if there != "" && !f.force && !f.print {
		return withHint(fmt.Errorf("%s is there already", filepath.Join(dir, there)),
			"otto init --force overwrites it, otto init --print only shows what is proposed")
	}
	answer := proposed{}
	if answer.Proposal, err = a.propose(ctx, dir); err != nil {
		return err
	}
	a.sayReasons(answer.Proposal)
	if len(answer.Findings) == 0 {
		return withHint(fmt.Errorf("nothing in %s is recognised", dir), smallestOttofile)
	}
	answer.Ottofile = string(answer.Proposal.Ottofile())
	if !f.print {
		answer.Path = filepath.Join(dir, first(there, "Ottofile.yaml"))
		if err := writeOttofile(answer.Path, there, answer.Ottofile); err != nil {
			return err
		}
		a.say("otto explain shows what it does, otto run runs it")
	}
	switch {
	case f.json:
		return a.printJSON(answer)
	case f.print:
		_, err = fmt.Fprint(a.stdout, answer.Ottofile)
	default:
		_, err = fmt.Fprintln(a.stdout, answer.Path)
	}
	return err
}

// writeOttofile writes a new file, or replaces the one that is there. A file that somebody has made meanwhile stays, and
// nobody sees half of one.
func writeOttofile(path, there, body string) error {
	if there == "" {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		return fill(file, body)
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".Ottofile-*")
	if err != nil {
		return err
	}
	if err := errors.Join(file.Chmod(0o644), fill(file, body)); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}

// fill writes a file that is new, or leaves none.
func fill(file *os.File, body string) error {
	_, err := file.WriteString(body)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
