package checkout

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mirror is what an agent keeps of a repository: a bare one, which the tasks are served from and never see.
//
// There are two kinds. One has commits without history, each as it was asked for: that is what most tasks want, and the history of
// a large repository takes minutes to fetch. The other has all history. They are apart, because to fetch a commit without history
// makes git forget the history that it had of it.
type mirror struct {
	store *Store
	path  string
	whole bool          // with history
	turn  chan struct{} // who holds the mirror: one fetch at a time, which serves all who wait for it
	users int           // who hold it or wait for it, guarded by the store's lock
}

// hold takes the mirror of a repository for one checkout.
func (s *Store) hold(ctx context.Context, r Request) (*mirror, error) {
	whole := r.Depth != 0 && r.Depth != 1
	sum := sha256.Sum256([]byte(r.Repository))
	name := hex.EncodeToString(sum[:16]) + "-" + format(r.Commit)
	if whole {
		name += "-history"
	}
	name += ".git"
	s.mu.Lock()
	m := s.mirrors[name]
	if m == nil {
		m = &mirror{store: s, path: filepath.Join(s.cfg.Dir, name), whole: whole, turn: make(chan struct{}, 1)}
		s.mirrors[name] = m
	}
	m.users++
	s.mu.Unlock()
	select {
	case m.turn <- struct{}{}:
		return m, nil
	case <-ctx.Done():
		m.leave()
		return nil, context.Cause(ctx)
	}
}

func (m *mirror) release() {
	<-m.turn
	m.leave()
}

func (m *mirror) leave() {
	m.store.mu.Lock()
	defer m.store.mu.Unlock()
	m.users--
}

// config is all that git finds in a mirror. It is written anew before each use.
const config = `[core]
	repositoryformatversion = %d
	bare = true
	hooksPath = /dev/null
	fsmonitor = false
[uploadpack]
	allowAnySHA1InWant = true
[gc]
	auto = 0
`

// prepare makes the mirror, or makes sure of it. One in which git was killed at work is not worth looking at.
func (m *mirror) prepare(ctx context.Context, commit string) error {
	if _, err := os.Lstat(m.busy()); err == nil {
		if err := m.remove(); err != nil {
			return err
		}
	}
	if _, err := os.Lstat(filepath.Join(m.path, "HEAD")); errors.Is(err, fs.ErrNotExist) {
		g, err := m.store.git()
		if err != nil {
			return err
		}
		defer g.close()
		if _, err := g.run(ctx, "init", "--quiet", "--bare", "--template=", "--object-format="+format(commit), "--initial-branch=main", "--", m.path); err != nil {
			return errors.Join(err, m.remove())
		}
	}
	settings := fmt.Sprintf(config, 0)
	if format(commit) == "sha256" {
		settings = fmt.Sprintf(config, 1) + "[extensions]\n\tobjectFormat = sha256\n"
	}
	// A task of the same user could have left settings, or borrowed objects, for the next one.
	for _, name := range []string{"config.worktree", "objects/info/alternates", "objects/info/http-alternates", "commondir", "info/attributes", "info/grafts"} {
		if err := os.RemoveAll(filepath.Join(m.path, name)); err != nil {
			return err
		}
	}
	return writeNew(filepath.Join(m.path, "config"), settings)
}

func writeNew(path, text string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o600)
}

func (m *mirror) remove() error { return os.RemoveAll(m.path) }

// busy is a file that is there while git changes the mirror.
func (m *mirror) busy() string { return filepath.Join(m.path, "busy") }

// ref keeps a commit in the mirror.
func ref(commit string) string { return "refs/otto/" + commit }

// ensure fetches the commit unless the mirror has it.
func (m *mirror) ensure(ctx context.Context, r Request) error {
	if err := m.prepare(ctx, r.Commit); err != nil {
		return err
	}
	if m.has(ctx, r.Commit) {
		return nil
	}
	r.Say("fetching %s", r.Repository)
	if err := m.fetchAgain(ctx, r); err != nil {
		return err
	}
	m.store.evict(m)
	return nil
}

func (m *mirror) has(ctx context.Context, commit string) bool {
	g, err := m.store.git()
	if err != nil {
		return false
	}
	defer g.close()
	g.bare(m.path)
	found, err := g.run(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", ref(commit))
	return err == nil && found == commit
}

// damaged says whether the mirror lacks something of a commit that it claims to have.
func (m *mirror) damaged(ctx context.Context, commit string) bool {
	g, err := m.store.git()
	if err != nil {
		return false
	}
	defer g.close()
	g.bare(m.path)
	_, err = g.run(ctx, "fsck", "--no-dangling", "--no-progress", "--no-reflogs", "--connectivity-only", "--end-of-options", commit)
	if err == nil {
		_, err = g.run(ctx, "fsck", "--no-dangling", "--no-progress", "--no-reflogs", "--end-of-options", commit)
	}
	return err != nil
}

// fetchTries is how often a fetch is tried: hosts of repositories have their moments.
const fetchTries = 3

func (m *mirror) fetchAgain(ctx context.Context, r Request) error {
	for try := 1; ; try++ {
		err := m.fetch(ctx, r)
		if err == nil || ctx.Err() != nil || try == fetchTries || !passing(err) {
			return err
		}
		r.Say("%v; trying again", err)
		timer := time.NewTimer(time.Duration(try)*time.Second + rand.N(time.Second))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// passing says whether an error of git may be gone at the next try. What it says of a credential, a host key or a commit is final.
func passing(err error) bool {
	said := err.Error()
	for _, part := range []string{
		"Could not resolve", "Could not connect", "Failed to connect", "Connection refused", "Connection reset", "Connection timed out", "early EOF", "unexpected disconnect",
		"Operation too slow", "Operation timed out", "RPC failed", "returned error: 5", "returned error: 429", "Connection closed", "hung up",
	} {
		if strings.Contains(said, part) {
			return true
		}
	}
	return false
}

// fetch gets the commit. A server that hands out only what its branches and tags name must hand out all of them.
func (m *mirror) fetch(ctx context.Context, r Request) error {
	g, err := m.store.git()
	if err != nil {
		return err
	}
	defer g.close()
	g.bare(m.path)
	if err := g.reach(r.Repository); err != nil {
		return err
	}
	if err := os.WriteFile(m.busy(), nil, 0o600); err != nil {
		return err
	}
	fetch := []string{"fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-recurse-submodules"}
	one := slices.Clone(fetch)
	if !m.whole {
		one = append(one, "--depth=1")
	}
	_, err = g.run(ctx, append(one, "--end-of-options", r.Repository, "+"+r.Commit+":"+ref(r.Commit))...)
	if err != nil && unadvertised(err) {
		err = m.fetchAll(ctx, g, fetch, r)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx) // it stays busy: nobody knows what it is like
	}
	if err == nil {
		err = m.tidy(ctx, g)
	}
	return errors.Join(err, os.Remove(m.busy()))
}

// unadvertised says whether a server has refused to hand out a commit by its name, or does not know it.
func unadvertised(err error) bool {
	for _, part := range []string{"unadvertised object", "not our ref", "couldn't find remote ref", "remote error: upload-pack", "no such remote ref"} {
		if strings.Contains(err.Error(), part) {
			return true
		}
	}
	return false
}

func (m *mirror) fetchAll(ctx context.Context, g *git, fetch []string, r Request) error {
	r.Say("the server hands out no commits by name: fetching all branches and tags")
	_, err := g.run(ctx, append(slices.Clone(fetch), "--end-of-options", r.Repository, "+refs/heads/*:refs/remote/heads/*", "+refs/tags/*:refs/remote/tags/*")...)
	if err != nil {
		return err
	}
	if _, err := g.run(ctx, "update-ref", "--", ref(r.Commit), r.Commit); err != nil {
		return fmt.Errorf("%s has no commit %s on its branches and tags", r.Repository, r.Commit)
	}
	return nil
}

// manyPacks is how many fetches leave an archive each before the archives are joined.
const manyPacks = 40

// tidy joins the archives once they are many: git looks into each.
func (m *mirror) tidy(ctx context.Context, g *git) error {
	packs, err := filepath.Glob(filepath.Join(m.path, "objects", "pack", "*.pack"))
	if err != nil || len(packs) < manyPacks {
		return err
	}
	_, err = g.run(ctx, "repack", "-d", "-q", "--geometric=2", "--no-write-bitmap-index")
	return err
}

// touch notes that the mirror was used: what was used last is evicted last.
func (m *mirror) touch() {
	now := time.Now()
	_ = os.Chtimes(m.path, now, now)
}

// evict removes mirrors that nobody uses, those that were not used for the longest time first, until the rest is within the limit.
func (s *Store) evict(used *mirror) {
	used.touch()
	type kept struct {
		path  string
		bytes int64
		at    time.Time
	}
	paths, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*.git"))
	var all []kept
	var total int64
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil {
			k := kept{path, treeBytes(path), info.ModTime()}
			all, total = append(all, k), total+k.bytes
		}
	}
	slices.SortFunc(all, func(a, b kept) int { return a.at.Compare(b.at) })
	for _, k := range all {
		if total <= s.cfg.Limit {
			return
		}
		if s.discard(filepath.Base(k.path)) {
			total -= k.bytes
		}
	}
}

// discard removes a mirror, unless somebody uses it.
func (s *Store) discard(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.mirrors[name]; m != nil && m.users > 0 {
		return false
	}
	delete(s.mirrors, name)
	return os.RemoveAll(filepath.Join(s.cfg.Dir, name)) == nil
}

func treeBytes(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}
