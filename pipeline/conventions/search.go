package conventions

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// The bounds of a search. A tree that is larger is searched in part, and the proposal says so.
const (
	maxDepth = 5       // directories below the root
	maxDirs  = 5000    // the shallow ones first; 0.4 s of CPU in /usr/share
	maxRead  = 1 << 18 // bytes of one marker
)

// dir is a directory of the tree.
type dir struct {
	path    string // "." for the root
	parent  *dir
	depth   int
	sample  bool // it is, or is in, an example
	files   map[string]bool
	subdirs map[string]bool // also those that are not searched
	inside  []*dir          // those that are
	cut     bool            // there is more below than was searched
}

// search is a proposal in the making.
type search struct {
	tree    fs.FS
	ignored map[string]bool
	dirs    []*dir // parents first, then by name
	tooMany bool
	nodes   map[*dir]*nodePackage

	name    string
	found   []*Finding
	leftOut []LeftOut
}

func newSearch(tree fs.FS, ignored []string) *search {
	s := &search{tree: tree, ignored: map[string]bool{}, nodes: map[*dir]*nodePackage{}}
	for _, name := range ignored {
		s.ignored[path.Clean(name)] = true
	}
	s.dirs = []*dir{{path: "."}}
	for i := 0; i < len(s.dirs); i++ {
		s.look(s.dirs[i])
	}
	// As people list them: each directory is followed by what is in it.
	slices.SortFunc(s.dirs, func(a, b *dir) int { return slices.Compare(a.parts(), b.parts()) })
	return s
}

// look lists a directory, and takes those in it that are worth a look. Links to directories are not followed: they may
// lead in a circle.
func (s *search) look(d *dir) {
	entries, err := fs.ReadDir(s.tree, d.path)
	if err != nil {
		s.leaveOut(d.path, "the directory cannot be read: %s", reason(err))
		d.cut = true
	}
	d.files, d.subdirs = map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		at := d.at(e.Name())
		switch {
		case s.ignored[at]:
		case e.IsDir():
			d.subdirs[e.Name()] = true
			s.take(d, e.Name())
		case e.Type().IsRegular() || e.Type()&fs.ModeSymlink != 0 && s.isFile(at):
			d.files[e.Name()] = true
		}
	}
}

func (s *search) take(d *dir, name string) {
	at := d.at(name)
	switch {
	case name[0] == '.', name[0] == '_', slices.Contains(skipped(), name):
	case !isDir(at):
		s.leaveOut(at, "the name of the directory cannot stand in an Ottofile")
	case len(s.dirs) >= maxDirs:
		d.cut = true
		if !s.tooMany {
			s.tooMany = true
			s.leaveOut(at, "the tree has more than %d directories; this and deeper ones are not searched", maxDirs)
		}
	default:
		below := &dir{path: at, parent: d, depth: d.depth + 1, sample: d.sample || slices.Contains(samples(), name)}
		d.inside = append(d.inside, below)
		s.dirs = append(s.dirs, below)
	}
}

// searched are the directories whose markers count. Deeper ones, and examples, only belong to those above; but a marker
// in them is not passed over in silence.
func (s *search) searched() []*dir {
	var out []*dir
	for _, d := range s.dirs {
		name := d.first("go.mod", nodeMarker, "Cargo.toml", "pyproject.toml", "Gemfile", "pom.xml")
		switch {
		case d.depth <= maxDepth && !d.sample:
			out = append(out, d)
		case name == "":
		case d.sample:
			s.leaveOut(d.at(name), "examples and templates are no tasks")
		default:
			s.leaveOut(d.at(name), "it is more than %d directories deep", maxDepth)
		}
	}
	return out
}

// skipped are directories that hold what others wrote, what tools made, and what tests read.
func skipped() []string {
	return []string{
		"node_modules", "bower_components", "vendor", "third_party", "Pods", "venv", "env", "site-packages",
		"target", "build", "dist", "out", "coverage", "buildSrc", "testdata", "fixtures",
	}
}

// samples are directories that show how others may use the project, or are copied by it.
func samples() []string {
	return []string{"example", "examples", "sample", "samples", "template", "templates"}
}

// isFile tells whether a link leads to a file in the tree.
func (s *search) isFile(at string) bool {
	info, err := fs.Stat(s.tree, at)
	return err == nil && info.Mode().IsRegular()
}

// parts are the names on the way from the root.
func (d *dir) parts() []string {
	if d.parent == nil {
		return nil
	}
	return strings.Split(d.path, "/")
}

// first is the first of the names that is a file of the directory, or "".
func (d *dir) first(names ...string) string {
	for _, name := range names {
		if d.files[name] {
			return name
		}
	}
	return ""
}

// firstIn is the first of the names that is a file of a directory in this one, or "".
func (d *dir) firstIn(sub string, names ...string) string {
	for _, below := range d.inside {
		if below.path == d.at(sub) {
			return below.first(names...)
		}
	}
	return ""
}

// at is the path of a file of the directory.
func (d *dir) at(name string) string { return path.Join(d.path, name) }

// above lists the directory and those it is in, the innermost first.
func (d *dir) above() []*dir {
	var out []*dir
	for ; d != nil; d = d.parent {
		out = append(out, d)
	}
	return out
}

// holds tells whether a file in or below the directory passes, but not in parts that are projects of their own. What
// was not searched may hold it.
func (d *dir) holds(passes func(name string) bool, own ...string) bool {
	for name := range d.files {
		if passes(name) {
			return true
		}
	}
	for _, below := range d.inside {
		if below.first(own...) == "" && below.holds(passes, own...) {
			return true
		}
	}
	return d.cut
}

// read gives the start of a marker. What cannot be read is empty: the file is there, and that is what counts.
func (s *search) read(d *dir, name string) string {
	text, _, _ := s.readAll(d, name)
	return text
}

// readAll tells also whether that is all of the file.
func (s *search) readAll(d *dir, name string) (text string, whole bool, err error) {
	if !d.files[name] {
		return "", false, fs.ErrNotExist
	}
	file, err := s.tree.Open(d.at(name))
	if err != nil {
		return "", false, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxRead+1))
	if err != nil {
		return "", false, err
	}
	whole = len(data) <= maxRead
	text = strings.TrimPrefix(string(data[:min(len(data), maxRead)]), "\uFEFF")
	return strings.ReplaceAll(text, "\r\n", "\n"), whole, nil
}
