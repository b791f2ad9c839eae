// Package conventions recognises what a source tree is made of and proposes an Ottofile for it. It is pure: it reads only
// through the file system it is given, and equal trees get equal proposals.
package conventions

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// maxFindings is how many tasks a proposal has at most: beyond it, nobody would read it.
const maxFindings = 40

// Proposal is what conventions make of a tree.
type Proposal struct {
	Name     string    `json:"name,omitempty"` // what the tree calls itself
	Findings []Finding `json:"findings"`       // in the order of their tasks
	LeftOut  []LeftOut `json:"left_out"`       // what was seen and not used
}

// Finding is a marker file and the task it stands for.
type Finding struct {
	Kind   string   `json:"kind"`   // go, node, rust, python, ruby, maven, gradle, make or docker
	Dir    string   `json:"dir"`    // where the marker is, "." for the tree's root
	Marker string   `json:"marker"` // its path
	Task   Task     `json:"task"`
	Notes  []string `json:"notes,omitempty"`  // what decided between several possibilities
	Covers []string `json:"covers,omitempty"` // markers below, whose work this task does
}

// Task is what a finding proposes.
type Task struct {
	Name    string     `json:"name"`
	Minutes int        `json:"timeout_minutes"`
	Docker  bool       `json:"docker,omitempty"` // an agent must offer docker
	Env     []Variable `json:"env,omitempty"`
	Steps   []Step     `json:"steps"`
}

// Variable is one of a task's environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Step is a script and the directory it starts in. No text of the tree gets into a script.
type Step struct {
	Sh  string `json:"sh"`
	Dir string `json:"dir"`
}

// LeftOut is a path that was not used, and why.
type LeftOut struct {
	Path string `json:"path"`
	Why  string `json:"why"`
}

// The kinds of findings, in the order in which one directory's are proposed.
const (
	kindGo     = "go"
	kindNode   = "node"
	kindRust   = "rust"
	kindPython = "python"
	kindRuby   = "ruby"
	kindMaven  = "maven"
	kindGradle = "gradle"
	kindMake   = "make"
	kindDocker = "docker"
)

// Propose looks through a tree. Ignored are the files and directories that do not belong to it, such as those git ignores.
// A proposal without findings means that nothing was recognised.
func Propose(tree fs.FS, ignored []string) Proposal {
	s := newSearch(tree, ignored)
	dirs := s.searched()
	for _, d := range dirs {
		s.golang(d)
		s.node(d)
		s.rust(d)
		s.python(d)
		s.ruby(d)
		s.jvm(d)
	}
	// Last, because they ask what else was found.
	for _, d := range dirs {
		s.make(d)
		s.docker(d)
	}
	return s.proposal()
}

// proposal orders the findings as a reader expects them, and keeps those that fit.
func (s *search) proposal() Proposal {
	p := Proposal{Name: s.name, Findings: []Finding{}, LeftOut: s.leftOut}
	for _, f := range s.found {
		p.Findings = append(p.Findings, *f)
	}
	place := map[string]int{}
	for i, d := range s.dirs {
		place[d.path] = i
	}
	slices.SortStableFunc(p.Findings, func(a, b Finding) int { return cmp.Compare(place[a.Dir], place[b.Dir]) })
	if n := len(p.Findings) - maxFindings; n > 0 {
		p.LeftOut = append(p.LeftOut, LeftOut{p.Findings[maxFindings].Marker,
			fmt.Sprintf("%d tasks are enough for a proposal; this and %d more markers are not in it", maxFindings, n-1)})
		p.Findings = p.Findings[:maxFindings]
	}
	nameTasks(p.Findings)
	if p.LeftOut == nil {
		p.LeftOut = []LeftOut{}
	}
	slices.SortStableFunc(p.LeftOut, func(a, b LeftOut) int { return strings.Compare(a.Path, b.Path) })
	return p
}

// nameTasks names each task after its kind and directory; where that is no name, after its place.
func nameTasks(findings []Finding) {
	for i := range findings {
		f := &findings[i]
		f.Task.Name = f.Kind
		if f.Dir == "." {
			continue
		}
		if name := f.Kind + " " + f.Dir; isName(name) {
			f.Task.Name = name
		} else {
			f.Task.Name = fmt.Sprintf("%s %d", f.Kind, i+1)
		}
	}
}

// find notes a finding in a directory. Steps without a directory start there.
func (s *search) find(d *dir, f Finding) *Finding {
	f.Dir = d.path
	for i := range f.Task.Steps {
		if f.Task.Steps[i].Dir == "" {
			f.Task.Steps[i].Dir = d.path
		}
	}
	s.found = append(s.found, &f)
	return &f
}

// finding is what was found of a kind in a directory, or nil.
func (s *search) finding(kind string, d *dir) *Finding {
	for _, f := range s.found {
		if f.Kind == kind && f.Dir == d.path {
			return f
		}
	}
	return nil
}

func (s *search) leaveOut(path, format string, args ...any) {
	s.leftOut = append(s.leftOut, LeftOut{path, fmt.Sprintf(format, args...)})
}

// call names the proposal, if this is the tree's root and nobody has before.
func (s *search) call(d *dir, name string) {
	if d.path == "." && s.name == "" && isName(name) {
		s.name = name
	}
}

// sh makes steps of scripts.
func sh(scripts ...string) []Step {
	steps := make([]Step, 0, len(scripts))
	for _, script := range scripts {
		steps = append(steps, Step{Sh: script})
	}
	return steps
}
