package conventions

import (
	"path"
	"regexp"
	"strings"
)

var (
	modulePath    = regexp.MustCompile(`(?m)^module\s+"?([^\s"]+)`)
	moduleVersion = regexp.MustCompile(`^v[0-9]+$`)
)

// golang recognises modules. A workspace (go.work) needs nothing of its own: each of its modules has a go.mod.
func (s *search) golang(d *dir) {
	const marker = "go.mod"
	if !d.files[marker] {
		return
	}
	if m := modulePath.FindStringSubmatch(s.read(d, marker)); m != nil {
		name := path.Base(m[1])
		if moduleVersion.MatchString(name) {
			name = path.Base(path.Dir(m[1]))
		}
		s.call(d, name)
	}
	// A module of tools only pins them: tools.go is there for no platform, and go vet fails where it finds nothing.
	isCode := func(name string) bool { return strings.HasSuffix(name, ".go") && name != "tools.go" }
	if !d.holds(isCode, marker) {
		s.leaveOut(d.at(marker), "the module has no Go code")
		return
	}
	s.find(d, Finding{Kind: kindGo, Marker: d.at(marker), Task: Task{Minutes: 20, Steps: sh("go vet ./...", "go test ./...")}})
}
