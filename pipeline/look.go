package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/bmatcuk/doublestar/v4"
)

// sourceLook answers what expressions ask of the source.
type sourceLook struct {
	event  Event
	tree   Tree
	hashes map[string]string // by the arguments; a plan keeps them
	known  map[string]string // that the caller has found
}

// changed tells whether a path that has changed matches one of the globs. Where it is not known what has changed, all has.
func (l *sourceLook) changed(patterns []string) ref.Val {
	if problem := checkGlobs(patterns); problem != nil {
		return problem
	}
	if l.event.Changed == nil {
		return types.True
	}
	return types.Bool(slices.ContainsFunc(l.event.Changed, func(path string) bool { return matchesAny(patterns, path) }))
}

// hash gives a digest of the files that match one of the globs: of their paths and contents.
func (l *sourceLook) hash(patterns []string) ref.Val {
	if problem := checkGlobs(patterns); problem != nil {
		return problem
	}
	key := strings.Join(patterns, ", ")
	if known, ok := l.hashes[key]; ok {
		return types.String(known)
	}
	if known, ok := l.known[key]; ok {
		l.hashes[key] = known
		return types.String(known)
	}
	if l.tree == nil {
		return types.NewErr("hash(%q) needs the files of the source, which are not at hand", key)
	}
	digests, err := l.tree.Digests(func(path string) bool { return matchesAny(patterns, path) })
	if err != nil {
		return types.NewErr("hash(%q): %v", key, err)
	}
	if len(digests) == 0 {
		return types.NewErr("hash(%q): no file matches", key)
	}
	sum := sha256.New()
	for _, path := range sortedKeys(digests) {
		fmt.Fprintf(sum, "%s\x00%s\n", path, digests[path])
	}
	l.hashes[key] = hex.EncodeToString(sum.Sum(nil))
	return types.String(l.hashes[key])
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := doublestar.Match(p, path)
		return ok && err == nil
	})
}

func checkGlobs(patterns []string) ref.Val {
	for _, p := range patterns {
		if !validPattern(p) {
			return types.NewErr("%q is not a pattern", p)
		}
	}
	return nil
}
