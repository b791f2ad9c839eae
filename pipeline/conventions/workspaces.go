package conventions

import (
	"encoding/json"
	"path"
	"strings"
)

// workspaces are the globs of the packages that one package.json installs for, however it writes them.
type workspaces []string

// UnmarshalJSON reads a list, or the list in an object. Other forms name no packages.
func (w *workspaces) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) == nil {
		*w = list
		return nil
	}
	var object struct {
		Packages []string `json:"packages"`
	}
	if json.Unmarshal(data, &object) == nil {
		*w = object.Packages
	}
	return nil
}

// workspaceOf is the directory whose lock file counts for a package: that of its workspace, or its own.
func (s *search) workspaceOf(d *dir) (home *dir, isMember bool) {
	for _, up := range d.above()[1:] {
		if isMemberOf(s.globsOf(up), strings.TrimPrefix(strings.TrimPrefix(d.path, up.path), "/")) {
			return up, true
		}
	}
	return d, false
}

func (s *search) globsOf(d *dir) []string {
	if d.files["pnpm-workspace.yaml"] {
		return pnpmGlobs(s.read(d, "pnpm-workspace.yaml"))
	}
	if pkg := s.nodes[d]; pkg != nil {
		return pkg.Workspaces
	}
	return nil
}

// pnpmGlobs reads the list below "packages:" line by line: pnpm itself writes it in no other form.
func pnpmGlobs(text string) []string {
	var out []string
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n\r\t ")
		word := strings.TrimSpace(line)
		item, isItem := strings.CutPrefix(word, "- ")
		switch {
		case word == "" || word[0] == '#':
		case isItem && inside:
			out = append(out, strings.Trim(strings.TrimSpace(item), `'"`))
		case line[0] != ' ':
			inside = strings.HasPrefix(line, "packages:")
		}
	}
	return out
}

// isMemberOf tells whether a path below the workspace's root matches; a glob with "!" takes it out again.
func isMemberOf(globs []string, name string) bool {
	member := false
	for _, glob := range globs {
		wanted := true
		if rest, isNot := strings.CutPrefix(glob, "!"); isNot {
			glob, wanted = rest, false
		}
		if matches(strings.Split(path.Clean(glob), "/"), strings.Split(name, "/")) {
			member = wanted
		}
	}
	return member
}

// matches compares part by part; "**" stands for any number of them.
func matches(glob, name []string) bool {
	// Twice "**" says no more than once, and costs the square.
	for len(glob) > 1 && glob[0] == "**" && glob[1] == "**" {
		glob = glob[1:]
	}
	if len(glob) == 0 {
		return len(name) == 0
	}
	if glob[0] == "**" {
		return matches(glob[1:], name) || len(name) > 0 && matches(glob, name[1:])
	}
	if len(name) == 0 {
		return false
	}
	ok, err := path.Match(glob[0], name[0])
	return err == nil && ok && matches(glob[1:], name[1:])
}
