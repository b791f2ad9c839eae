package conventions

import (
	"cmp"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// nodePackage is what counts of a package.json.
type nodePackage struct {
	Name           string            `json:"name"`
	PackageManager string            `json:"packageManager"`
	Scripts        map[string]string `json:"scripts"`
	Workspaces     workspaces        `json:"workspaces"`

	Dependencies         map[string]json.RawMessage `json:"dependencies"`
	DevDependencies      map[string]json.RawMessage `json:"devDependencies"`
	OptionalDependencies map[string]json.RawMessage `json:"optionalDependencies"`
}

const nodeMarker = "package.json"

// node recognises packages: their scripts say what to run, their lock file says by which manager.
func (s *search) node(d *dir) {
	if !d.files[nodeMarker] {
		return
	}
	pkg, err := s.readPackage(d)
	if err != nil {
		s.leaveOut(d.at(nodeMarker), "%s", err)
		return
	}
	s.nodes[d] = pkg
	s.call(d, pkg.Name[strings.LastIndexByte(pkg.Name, '/')+1:])
	home, isMember := s.workspaceOf(d)
	if root := s.finding(kindNode, home); isMember && root != nil {
		root.Covers = append(root.Covers, d.at(nodeMarker))
		return
	}
	f := Finding{Kind: kindNode, Marker: d.at(nodeMarker), Task: Task{Minutes: 20}}
	scripts := pkg.toRun(&f)
	if len(scripts) == 0 {
		if len(s.globsOf(d)) == 0 && !s.hasPackageAbove(d) { // else its members, or the package it is a part of, have them
			s.leaveOut(d.at(nodeMarker), "it has none of the scripts lint, build and test")
		}
		return
	}
	m, note := s.manager(home)
	if isMember || pkg.hasDependencies() || m.lock != "" {
		f.Task.Steps = append(f.Task.Steps, Step{Sh: m.install, Dir: home.path})
		f.Notes = append(f.Notes, note)
	}
	for _, name := range scripts {
		f.Task.Steps = append(f.Task.Steps, Step{Sh: m.name + " run " + name})
	}
	s.find(d, f)
}

func (s *search) hasPackageAbove(d *dir) bool {
	return slices.ContainsFunc(d.above()[1:], func(up *dir) bool { return s.nodes[up] != nil })
}

// readPackage reads a package.json, and says what is wrong with one that cannot be.
func (s *search) readPackage(d *dir) (*nodePackage, error) {
	text, whole, err := s.readAll(d, nodeMarker)
	switch {
	case err != nil:
		return nil, errors.New("it cannot be read: " + reason(err))
	case !whole:
		return nil, errors.New("it is too large to be read")
	}
	var pkg nodePackage
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal([]byte(text), &pkg); {
	case errors.As(err, &wrong):
		return nil, errors.New("it is no package.json: " + shown(cmp.Or(wrong.Field, "the whole")) + " has the wrong type")
	case err != nil:
		return nil, errors.New("it is not JSON: " + reason(err))
	}
	return &pkg, nil
}

// toRun names the scripts that are there, in the order in which they help each other: a test may need what was built.
func (p *nodePackage) toRun(f *Finding) []string {
	var out []string
	for _, name := range []string{"lint", "build", "test"} {
		switch script := strings.TrimSpace(p.Scripts[name]); {
		case script == "":
		case strings.Contains(script, "no test specified"): // what npm init writes; it always fails
			f.Notes = append(f.Notes, "the script test only says that there is none")
		default:
			out = append(out, name)
		}
	}
	return out
}

func (p *nodePackage) hasDependencies() bool {
	return len(p.Dependencies)+len(p.DevDependencies)+len(p.OptionalDependencies) > 0
}

// nodeManager is a package manager, and how it installs exactly what the lock file says.
type nodeManager struct {
	name, lock string
	install    string
}

func nodeManagers() []nodeManager {
	return []nodeManager{
		{"pnpm", "pnpm-lock.yaml", "pnpm install --frozen-lockfile"},
		{"yarn", "yarn.lock", "yarn install --immutable"},
		{"npm", "package-lock.json", "npm ci"},
		{"npm", "npm-shrinkwrap.json", "npm ci"},
		{"bun", "bun.lock", "bun install --frozen-lockfile"},
		{"bun", "bun.lockb", "bun install --frozen-lockfile"},
	}
}

// manager chooses by what package.json says, then by the lock files, and tells why.
func (s *search) manager(home *dir) (m nodeManager, why string) {
	said := ""
	if pkg := s.nodes[home]; pkg != nil {
		said, _, _ = strings.Cut(pkg.PackageManager, "@")
	}
	var locked []nodeManager
	known := false
	for _, m := range nodeManagers() {
		known = known || m.name == said
		if home.files[m.lock] {
			locked = append(locked, m)
		}
	}
	if !known {
		said = ""
	}
	for _, m := range locked {
		if said == "" || m.name == said {
			why = home.at(m.lock) + " says " + m.name
			if len(locked) > 1 && said != "" {
				why += ", and so does packageManager"
			} else if len(locked) > 1 {
				why += "; there are other lock files, too"
			}
			return s.yarnFlags(home, m), why
		}
	}
	if said == "" {
		said = "npm"
	}
	return nodeManager{name: said, install: said + " install"}, "no lock file: " + said + " takes the newest dependencies"
}

// yarnFlags knows how the first version of yarn spells that its lock file must not change.
func (s *search) yarnFlags(home *dir, m nodeManager) nodeManager {
	if m.name != "yarn" {
		return m
	}
	said := ""
	if pkg := s.nodes[home]; pkg != nil {
		said = pkg.PackageManager
	}
	isFirst := strings.HasPrefix(said, "yarn@1.")
	if said == "" && !home.files[".yarnrc.yml"] {
		isFirst = !strings.Contains(s.read(home, m.lock), "__metadata:")
	}
	if isFirst {
		m.install = "yarn install --frozen-lockfile"
	}
	return m
}
