package conventions

import (
	"regexp"
	"strings"
)

// rule matches the line that names the targets of a rule; not an assignment, and not what make runs.
var rule = regexp.MustCompile(`(?m)^([A-Za-z0-9_][A-Za-z0-9_./ -]*?)[ \t]*::?(?:[^=:]|$)`)

// make recognises makefiles where nothing else is: elsewhere the steps of the language are known to work from a clean
// checkout, and a makefile's targets may need what somebody has installed before. What it builds below is found below.
func (s *search) make(d *dir) {
	marker := d.first("GNUmakefile", "makefile", "Makefile")
	if marker == "" {
		return
	}
	targets := map[string]bool{}
	for _, m := range rule.FindAllStringSubmatch(s.read(d, marker), -1) {
		for name := range strings.FieldsSeq(m[1]) {
			targets[name] = true
		}
	}
	script := "make"
	for _, name := range []string{"test", "check"} {
		if targets[name] {
			script = "make " + name
			break
		}
	}
	other := s.foundIn(d)
	switch {
	case other != nil && script == "make": // it does other things
	case other != nil && other.Dir == d.path:
		s.leaveOut(d.at(marker), "%s wins; to run the makefile instead, write: sh: %s", shown(other.Marker), script)
	case other != nil:
		s.leaveOut(d.at(marker), "what is below has tasks of its own; to run the makefile instead, write: sh: %s", script)
	case script == "make" && d.path != ".": // most only make documents, or are a part of something
	case script == "make" && len(targets) == 0:
		s.leaveOut(d.at(marker), "it has no targets")
	default:
		f := Finding{Kind: kindMake, Marker: d.at(marker), Task: Task{Minutes: 20, Steps: sh(script)}}
		if script == "make" {
			f.Notes = []string{"it has no target test or check: the default one is made"}
		}
		s.find(d, f)
	}
}

// foundIn is the first finding in or below a directory.
func (s *search) foundIn(d *dir) *Finding {
	for _, f := range s.found {
		if f.Dir == d.path || d.path == "." || strings.HasPrefix(f.Dir, d.path+"/") {
			return f
		}
	}
	return nil
}

// docker recognises images. Elsewhere than at the root or beside a marker it is not known what a Dockerfile is built from.
func (s *search) docker(d *dir) {
	const marker = "Dockerfile"
	if !d.files[marker] {
		return
	}
	beside := false
	for _, f := range s.found {
		beside = beside || f.Dir == d.path
	}
	if d.path != "." && !beside {
		s.leaveOut(d.at(marker), "nothing tells from which directory it is built")
		return
	}
	s.find(d, Finding{
		Kind: kindDocker, Marker: d.at(marker), Notes: []string{"an agent offers it where Docker answers"},
		Task: Task{Minutes: 30, Docker: true, Steps: sh("docker build .")},
	})
}
