package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ottoci/otto/pipeline"
	"github.com/ottoci/otto/pipeline/show"
)

// lockFlags say what becomes of a lock.
type lockFlags struct{ check, vendor, json bool }

// lockedAnswer is what otto lock answers as JSON.
type lockedAnswer struct {
	Path    string        `json:"path"`
	Lock    pipeline.Lock `json:"lock"`
	Changes []string      `json:"changes"` // since the lock that was there
}

func newLock(a *app) *cobra.Command {
	var f lockFlags
	cmd := &cobra.Command{
		Use:   "lock [DIR|FILE]",
		Short: "Pin what the templates of an Ottofile come from",
		Long: `Lock writes otto.lock, beside the Ottofile: the digest of each file that is used as a template, and of git sources the commit
that their branch or tag is now. Commit it. From then on, a template that has changed is refused until otto lock has run again.

With --vendor it also copies git sources to otto.vendor, for servers, which fetch nothing, and for machines without network. Where
otto.vendor is there, it does so in any case: copies that the lock does not name are of no use.` +
			exitStatus("0  otto.lock is up to date", "1  it is not, with --check; or a template cannot be found"),
		Example: examples("otto lock", "otto lock --check", "otto lock --vendor && git add otto.lock otto.vendor"),
		Args:    atMost(1, "directory or file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := findOttofile(args)
			if err != nil {
				return err
			}
			file.tree = a.workingTree(cmd.Context(), file)
			if _, err := os.Stat(filepath.Join(file.dir, pipeline.VendorDir)); err == nil {
				f.vendor = true
			}
			return a.lock(cmd.Context(), file, f)
		},
	}
	cmd.Flags().BoolVar(&f.check, "check", false, "write nothing, and fail if otto.lock is not up to date")
	cmd.Flags().BoolVar(&f.vendor, "vendor", false, "also copy git sources into the repository")
	cmd.Flags().BoolVar(&f.json, "json", false, "print the lock and its changes as JSON")
	return cmd
}

func (a *app) lock(ctx context.Context, file *ottofile, f lockFlags) error {
	found, err := a.resolveTemplates(ctx, file)
	if err != nil {
		return err
	}
	path := filepath.Join(file.dir, pipeline.LockFile)
	old, there, err := readLock(path)
	if err != nil && f.check {
		return withHint(fmt.Errorf("%s: %w", path, err), "otto lock writes it anew")
	}
	answer := lockedAnswer{Path: path, Lock: found, Changes: append([]string{}, found.Changes(old)...)}
	if err := a.answerLock(answer, f); err != nil {
		return err
	}
	if f.check {
		if len(answer.Changes) > 0 {
			return withHint(fmt.Errorf("%s is not up to date", path), "otto lock writes it")
		}
		return checkVendored(file, found, f)
	}
	if len(found.Templates) > 0 || there {
		data, err := found.Encode()
		if err != nil {
			return err
		}
		if err := writeNew(path, data); err != nil {
			return err
		}
	}
	if f.vendor {
		return vendorTemplates(file, found)
	}
	return nil
}

// answerLock says what changed.
func (a *app) answerLock(answer lockedAnswer, f lockFlags) error {
	if f.json {
		return a.printJSON(answer)
	}
	for _, change := range answer.Changes {
		if _, err := fmt.Fprintln(a.stdout, change); err != nil {
			return err
		}
	}
	if len(answer.Changes) == 0 {
		a.say("%s is up to date: %s", answer.Path, show.Count(len(answer.Lock.Templates), "template file"))
	}
	return nil
}

// resolveTemplates finds what the templates come from now, whatever otto.lock says.
func (a *app) resolveTemplates(ctx context.Context, file *ottofile) (pipeline.Lock, error) {
	for {
		found, diagnostics := pipeline.Resolve(file.file(), file.facts())
		if len(found.Missing) > 0 {
			if err := a.fetchRemotes(ctx, file, found.Missing); err != nil {
				return pipeline.Lock{}, err
			}
			continue
		}
		if diagnostics.HasErrors() {
			a.printDiagnostics(file.named(diagnostics))
			return pipeline.Lock{}, exit(codeFailed)
		}
		return found.Lock, nil
	}
}

// readLock reads the lock that is there. One that cannot be read counts as empty, so that it can be written anew.
func readLock(path string) (lock pipeline.Lock, there bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return pipeline.Lock{}, false, nil
	}
	if err == nil {
		lock, err = pipeline.ParseLock(data)
	}
	return lock, true, err
}

// vendorTemplates copies the git sources of a lock into the tree, and removes the copies that nobody needs any more.
func vendorTemplates(file *ottofile, lock pipeline.Lock) error {
	if err := os.RemoveAll(filepath.Join(file.dir, pipeline.VendorDir)); err != nil {
		return err
	}
	for path, data := range vendored(file, lock) {
		if err := writeNew(filepath.Join(file.dir, filepath.FromSlash(path)), data); err != nil {
			return err
		}
	}
	return nil
}

// vendored gives the copies of a lock's git sources by their paths.
func vendored(file *ottofile, lock pipeline.Lock) map[string][]byte {
	out := map[string][]byte{}
	for remote, content := range file.remotes {
		entry, ok := lock.Templates[remote.String()]
		if !ok {
			continue
		}
		remote.Ref = entry.Commit
		out[remote.Vendored()] = content.Data
	}
	return out
}

// checkVendored compares the copies in the tree, if --vendor is asked for.
func checkVendored(file *ottofile, lock pipeline.Lock, f lockFlags) error {
	if !f.vendor {
		return nil
	}
	wanted := vendored(file, lock)
	for _, path := range slices.Sorted(maps.Keys(wanted)) {
		at := filepath.Join(file.dir, filepath.FromSlash(path))
		if data, err := os.ReadFile(at); err != nil || string(data) != string(wanted[path]) {
			return withHint(fmt.Errorf("%s is not up to date", at), "otto lock --vendor writes it")
		}
	}
	return nil
}
