package bundle

import (
	"context"
	"strings"
)

// Head is what a working tree is at. All is empty where git does not manage it, is not installed, or has no commit yet.
type Head struct {
	Branch  string // empty between branches
	SHA     string
	Message string // of the commit
}

// HeadOf asks git. Whatever is wrong with the repository, there is just nothing known of it: nobody needs it to run a tree.
func HeadOf(ctx context.Context, dir string, environ []string) Head {
	if !managed(dir, true) {
		return Head{}
	}
	out, err := worktree{dir: dir, environ: environ}.git(ctx, dir, "rev-parse", "--verify", "HEAD")
	if err != nil {
		return Head{}
	}
	head := Head{SHA: strings.TrimSpace(string(out))}
	out, err = worktree{dir: dir, environ: environ}.git(ctx, dir, "symbolic-ref", "--quiet", "HEAD")
	if err == nil {
		head.Branch = strings.TrimPrefix(strings.TrimSpace(string(out)), "refs/heads/")
	}
	if out, err = (worktree{dir: dir, environ: environ}).git(ctx, dir, "log", "-1", "--format=%B", head.SHA); err == nil {
		head.Message = strings.TrimSpace(string(out))
	}
	return head
}
