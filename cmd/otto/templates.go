package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ottoci/otto/client/bundle"
	"github.com/ottoci/otto/pipeline"
)

// fetchTimeout is how long a git server may take for one repository.
const fetchTimeout = 2 * time.Minute

var errFetchTimeout = errors.New("the git server took longer than 2 minutes")

// fetchTemplates gets the git sources that an Ottofile's templates come from, by its otto.lock. Those that they use in turn are
// known only then.
func (a *app) fetchTemplates(ctx context.Context, file *ottofile) error {
	if file.tree == nil {
		file.tree = a.workingTree(ctx, file)
	}
	for {
		missing := pipeline.MissingRemotes(file.file(), file.facts())
		missing = slices.DeleteFunc(missing, func(r pipeline.Remote) bool { return !r.Pinned() })
		if len(missing) == 0 {
			return nil
		}
		if err := a.fetchRemotes(ctx, file, missing); err != nil {
			return err
		}
	}
}

// fetchRemotes gets git sources from the cache or from their servers, one repository after the other.
func (a *app) fetchRemotes(ctx context.Context, file *ottofile, wanted []pipeline.Remote) error {
	if file.remotes == nil {
		file.remotes = map[pipeline.Remote]pipeline.RemoteFile{}
	}
	cache, err := a.templateCache()
	if err != nil {
		return err
	}
	type commit struct{ repo, ref string }
	groups := map[commit][]string{}
	var order []commit
	for _, r := range wanted {
		if data, err := os.ReadFile(cache.path(r)); err == nil && r.Pinned() {
			file.remotes[r] = pipeline.RemoteFile{Commit: r.Ref, Data: data}
			continue
		}
		at := commit{r.Repo, r.Ref}
		if groups[at] == nil {
			order = append(order, at)
		}
		groups[at] = append(groups[at], r.Path)
	}
	for _, at := range order {
		if err := a.fetchCommit(ctx, file, cache, pipeline.Remote{Repo: at.repo, Ref: at.ref}, groups[at]); err != nil {
			return withHint(fmt.Errorf("fetch the templates of %s at %s: %w", at.repo, at.ref, err),
				"git must be able to read it: git ls-remote %s", at.repo)
		}
	}
	return nil
}

// fetchCommit gets files of one commit, branch or tag.
func (a *app) fetchCommit(ctx context.Context, file *ottofile, cache templateCache, from pipeline.Remote, paths []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchTimeout, errFetchTimeout)
	defer cancel()
	a.say("fetching %s at %s", from.Repo, from.Ref)
	repo := bundle.Remote{URL: from.Repo, TempDir: string(cache), Environ: a.env.all}
	commit := from.Ref
	if !from.Pinned() {
		var err error
		if commit, err = repo.Resolve(ctx, from.Ref); err != nil {
			return err
		}
	}
	files, err := repo.Files(ctx, commit, paths)
	if err != nil {
		return err
	}
	for path, data := range files {
		from.Path = path
		file.remotes[from] = pipeline.RemoteFile{Commit: commit, Data: data}
		pinned := pipeline.Remote{Repo: from.Repo, Ref: commit, Path: path}
		file.remotes[pinned] = pipeline.RemoteFile{Commit: commit, Data: data}
		if err := cache.keep(pinned, data); err != nil {
			return err
		}
	}
	return nil
}

// templateCache is the directory of the files of commits that were fetched. A commit's files never change, so neither do they.
type templateCache string

func (a *app) templateCache() (templateCache, error) {
	data, err := a.dataDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(data, "templates")
	return templateCache(dir), os.MkdirAll(dir, 0o700)
}

func (c templateCache) path(r pipeline.Remote) string {
	sum := sha256.Sum256([]byte(r.String()))
	return filepath.Join(string(c), hex.EncodeToString(sum[:]))
}

// keep writes a file whole or not at all.
func (c templateCache) keep(r pipeline.Remote, data []byte) error {
	file, err := os.CreateTemp(string(c), "new-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), c.path(r))
}

// writeNew writes a file of the tree, unless it is there already.
func writeNew(path string, data []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
