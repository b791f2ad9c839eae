// Package checkout puts commits of git repositories into the workspaces of tasks.
//
// A repository is taken for hostile, and so is what a task may have done to the mirrors that later tasks are served from. Git
// runs with settings of ours alone. Nothing of a repository runs: no hooks, no filters, no helpers, no monitor. What it
// brings is checked while it is received, and the name of a commit is a digest of all there is in it. Credentials are known
// to git for as long as one transfer takes, and are on no disk, in no argument and in no environment.
package checkout

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/ottoci/otto/client"
)

// Config says how an agent comes by repositories. Zero values work, but for Dir.
type Config struct {
	Dir     string // mirrors, and what is there while git runs; made if missing
	Environ []string
	Limit   int64 // bytes of mirrors that are kept; 10 GiB if 0

	Schemes     []string // that addresses may have; https and ssh if empty
	CAFile      string   // certificates to trust besides none other, PEM; the system's if empty
	Credentials string   // file of addresses with user and password, one a line
	SSHKey      string   // file of the private key for ssh
	KnownHosts  string   // file of the hosts that ssh may talk to

	Bytes   int64 // of the files of a commit; no limit if 0
	Entries int   // of a commit: files, links and submodules; no limit if 0

	// Started and Ended frame the life of each git process, for who keeps count of the children of this process.
	Started func(*exec.Cmd) error // starts it
	Ended   func(*exec.Cmd)
}

// Store has the mirrors of an agent.
type Store struct {
	cfg Config

	mu      sync.Mutex
	mirrors map[string]*mirror // by the name of their directory
}

const (
	defaultLimit = 10 << 30
	// maxModules bounds the submodules of a checkout, theirs included, and maxNesting how deep they lie in each other.
	maxModules, maxNesting = 200, 8
)

// Open makes the directory and removes what an agent that died has left in it.
func Open(cfg Config) (*Store, error) {
	if cfg.Limit == 0 {
		cfg.Limit = defaultLimit
	}
	if len(cfg.Schemes) == 0 {
		cfg.Schemes = []string{"https", "ssh"}
	}
	if cfg.Started == nil {
		cfg.Started = (*exec.Cmd).Start
	}
	if cfg.Ended == nil {
		cfg.Ended = func(*exec.Cmd) {}
	}
	s := &Store{cfg: cfg, mirrors: map[string]*mirror{}}
	if err := os.RemoveAll(s.scratch()); err != nil {
		return nil, fmt.Errorf("sweep the checkouts: %w", err)
	}
	if err := os.MkdirAll(s.scratch(), 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of mirrors: %w", err)
	}
	return s, nil
}

func (s *Store) scratch() string { return filepath.Join(s.cfg.Dir, "scratch") }

// Available says whether this machine has git.
func Available() bool {
	_, err := exec.LookPath("git")
	return err == nil
}

// Request is a commit that a directory is to hold.
type Request struct {
	client.Checkout
	client.CheckoutSpec
	Into string                           // an empty directory, or none yet
	Say  func(format string, args ...any) // tells people of progress; may be nil
}

// Checkout fetches a commit, unless a mirror has it, and puts it into a directory, as a repository of its own.
func (s *Store) Checkout(ctx context.Context, r Request) error {
	if r.Say == nil {
		r.Say = func(string, ...any) {}
	}
	w := &work{store: s, modules: maxModules}
	return w.checkout(ctx, r, 0)
}

// work is a checkout with its submodules.
type work struct {
	store   *Store
	modules int // that may still be made
}

func (w *work) checkout(ctx context.Context, r Request, nested int) error {
	if err := w.store.allow(r); err != nil {
		return err
	}
	err := w.populate(ctx, r)
	if errors.Is(err, errDamaged) && ctx.Err() == nil { // a task, or the disk, has damaged the mirror: begin anew, once
		r.Say("the mirror of %s is damaged, and is fetched again", r.Repository)
		if err := emptyDir(r.Into); err != nil {
			return err
		}
		err = w.populate(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("check out %s at %s: %w", r.Repository, r.Commit, err)
	}
	if r.LFS {
		if err := w.store.pullLFS(ctx, r); err != nil {
			return fmt.Errorf("fetch the large files of %s at %s: %w", r.Repository, r.Commit, err)
		}
	}
	if r.Submodules {
		return w.submodules(ctx, r, nested)
	}
	return nil
}

// allow refuses what git must not see, and ways that this agent does not go.
func (s *Store) allow(r Request) error {
	if err := r.Check(); err != nil {
		return err
	}
	u, err := url.Parse(r.Repository)
	if err != nil {
		return err
	}
	if !slices.Contains(s.cfg.Schemes, u.Scheme) {
		return fmt.Errorf("this agent fetches nothing by %s: %s; otto agent --git-scheme %s allows it", u.Scheme, r.Repository, u.Scheme)
	}
	return nil
}

// populate makes the repository in the directory and checks the commit out.
func (w *work) populate(ctx context.Context, r Request) error {
	m, err := w.store.hold(ctx, r)
	if err != nil {
		return err
	}
	defer m.release()
	if err := m.ensure(ctx, r); err != nil {
		return err
	}
	if err := w.store.receive(ctx, m, r); err != nil {
		if ctx.Err() == nil && m.damaged(ctx, r.Commit) {
			return errors.Join(errDamaged, err, m.remove())
		}
		return err
	}
	m.touch()
	return w.store.write(ctx, r)
}

var errDamaged = errors.New("the mirror is damaged")

// receive makes a repository and copies what the task may see of the mirror into it, as an archive of its own: what the task does
// to it cannot reach the mirror. The objects are digested on their way, so that nothing else can come under their names.
func (s *Store) receive(ctx context.Context, m *mirror, r Request) error {
	g, err := s.git()
	if err != nil {
		return err
	}
	defer g.close()
	if _, err := g.run(ctx, "init", "--quiet", "--template=", "--object-format="+format(r.Commit), "--initial-branch=main", "--", r.Into); err != nil {
		return err
	}
	g.in(r.Into)
	g.schemes = []string{"file"}
	fetch := []string{"fetch", "--quiet", "--no-tags", "--no-auto-maintenance", "--no-recurse-submodules", "--no-write-fetch-head"}
	if depth := max(r.Depth, 1); r.Depth != client.CheckoutAll {
		fetch = append(fetch, fmt.Sprintf("--depth=%d", depth))
	}
	if _, err := g.run(ctx, append(fetch, "--end-of-options", "file://"+m.path, r.Commit)...); err != nil {
		return err
	}
	kind, err := g.run(ctx, "cat-file", "-t", r.Commit)
	if err == nil && kind != "commit" {
		err = fmt.Errorf("%s is a %s, not a commit", r.Commit, kind)
	}
	return err
}

// write checks the commit out, once it is known to be within bounds.
func (s *Store) write(ctx context.Context, r Request) error {
	g, err := s.git()
	if err != nil {
		return err
	}
	defer g.close()
	g.in(r.Into)
	if err := s.measure(ctx, g, r.Commit); err != nil {
		return err
	}
	if _, err := g.run(ctx, "checkout", "--quiet", "--detach", "--force", "--no-recurse-submodules", r.Commit, "--"); err != nil {
		return err
	}
	for name, value := range map[string]string{"remote.origin.url": r.Repository, "remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*"} {
		if _, err := g.run(ctx, "config", "--local", name, value); err != nil {
			return err
		}
	}
	return nil
}

// format is the object format of the repository that a commit is of.
func format(commit string) string {
	if len(commit) == 64 {
		return "sha256"
	}
	return "sha1"
}

func emptyDir(path string) error {
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Mkdir(path, 0o700)
}
