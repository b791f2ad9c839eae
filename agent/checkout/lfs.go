package checkout

import (
	"context"
	"errors"
	"os/exec"
	"strings"
)

// pullLFS replaces the pointers of git-lfs by what they point to. It is asked of the repository itself, whatever .lfsconfig says.
func (s *Store) pullLFS(ctx context.Context, r Request) error {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		return errors.New("git-lfs is not installed on this agent")
	}
	g, err := s.git()
	if err != nil {
		return err
	}
	defer g.close()
	g.in(r.Into)
	if err := g.reach(r.Repository); err != nil {
		return err
	}
	for name, value := range filters { // git-lfs does nothing without them; and git, in a step, would take each file for changed
		if _, err := g.run(ctx, "config", "--local", "filter.lfs."+name, value); err != nil {
			return err
		}
	}
	g.set("lfs.url", lfsAddress(r.Repository))
	g.set("remote.origin.lfsurl", lfsAddress(r.Repository))
	g.set("lfs.fetchinclude", "")
	g.set("lfs.fetchexclude", "")
	_, err = g.run(ctx, "lfs", "pull")
	return err
}

var filters = map[string]string{"clean": "git-lfs clean -- %f", "smudge": "git-lfs smudge -- %f", "process": "git-lfs filter-process", "required": "true"}

// lfsAddress is where the large files of a repository are: beside it over https; git-lfs finds the rest by itself.
func lfsAddress(repository string) string {
	if !strings.HasPrefix(repository, "http") {
		return repository
	}
	return strings.TrimSuffix(strings.TrimSuffix(repository, "/"), ".git") + ".git/info/lfs"
}
