package bundle

import (
	"context"
	"os/exec"
	"strings"
)

// Ignored names the files and directories below dir that git ignores, so that a bundle of dir does not hold them: paths
// relative to dir, slash separated. Without git there are none. Environ is git's environment.
func Ignored(ctx context.Context, dir string, environ []string) ([]string, error) {
	if !managed(dir, true) {
		return nil, nil
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil, nil
	}
	repo := worktree{dir: dir, environ: environ}
	if repo.ignored(ctx, dir) { // as in list: whoever names the directory wants it nevertheless
		return nil, nil
	}
	out, err := repo.git(ctx, dir, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory")
	if err != nil {
		return nil, err
	}
	names := strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	for i, name := range names {
		names[i] = strings.TrimSuffix(name, "/")
	}
	return names, nil
}
