package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// Remote is a file of a git repository at a commit, a branch or a tag.
type Remote struct {
	Repo string // https://…, ssh://… or file://…
	Ref  string
	Path string // slash separated
}

// RemoteFile is a file that was fetched, and the commit that it is of.
type RemoteFile struct {
	Commit string
	Data   []byte
}

// String writes the source as `use` does.
func (r Remote) String() string { return "git+" + r.Repo + "//" + r.Path + "@" + r.Ref }

// Pinned tells whether the source is a commit: a branch or a tag may be another one tomorrow.
func (r Remote) Pinned() bool { return commitID.MatchString(r.Ref) }

// Vendored is where a copy of the source stands in the tree, if there is one.
func (r Remote) Vendored() string {
	_, rest, _ := strings.Cut(r.Repo, "://")
	clean := strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("./-_", c) {
			return c
		}
		return '_'
	}, rest)
	return path.Join(VendorDir, path.Clean("/"+clean), r.Ref, r.Path)
}

// VendorDir is where copies of git sources stand.
const VendorDir = "otto.vendor"

var (
	commitID = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
	gitRef   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/+-]*$`)
	gitHost  = regexp.MustCompile(`^([A-Za-z0-9._-]+@)?[A-Za-z0-9\[][A-Za-z0-9.:\]-]*$`)
)

// remote makes the source a git one; a file of the tree has none.
func (s templateSource) remote() (Remote, bool) { return s.Remote, s.Repo != "" }

// templateSource is where a template file is: a path of the tree, or in a git repository.
type templateSource struct{ Remote }

func (s templateSource) String() string {
	if s.Repo == "" {
		return s.Path
	}
	return s.Remote.String()
}

// beside is the source that a relative path means in a file.
func (s templateSource) beside(relative string) templateSource {
	s.Path = path.Join(path.Dir(s.Path), relative)
	return s
}

// parseRemote reads a git source.
func parseRemote(text string) (Remote, error) {
	scheme, rest, ok := strings.Cut(strings.TrimPrefix(text, "git+"), "://")
	if !ok || scheme != "https" && scheme != "ssh" && scheme != "file" {
		return Remote{}, errors.New("a git source starts with git+https://, git+ssh:// or git+file://")
	}
	host, _, _ := strings.Cut(rest, "/")
	if scheme != "file" && !gitHost.MatchString(host) {
		if user, _, found := strings.Cut(host, "@"); found && strings.Contains(user, ":") {
			return Remote{}, errors.New("a git source must not have a password: let git's credential helper know it")
		}
		return Remote{}, fmt.Errorf("%q is no host", shorten(host, 60))
	}
	repo, file, ok := strings.Cut(rest, "//")
	at := strings.LastIndexByte(file, '@')
	if !ok || at < 0 || repo == "" {
		return Remote{}, errors.New("a git source is written git+https://HOST/REPOSITORY//FILE@COMMIT")
	}
	r := Remote{Repo: scheme + "://" + repo, Path: file[:at], Ref: file[at+1:]}
	switch {
	case scheme == "file" && !strings.HasPrefix(repo, "/"):
		return Remote{}, errors.New("a git source in the file system starts with git+file:///")
	case !fs.ValidPath(r.Path) || r.Path == ".":
		return Remote{}, fmt.Errorf("%q is no path of a file in the repository", shorten(r.Path, 60))
	case !gitRef.MatchString(r.Ref) || strings.Contains(r.Ref, "..") || len(r.Ref) > maxName:
		return Remote{}, fmt.Errorf("%q is no commit, branch or tag", shorten(r.Ref, 60))
	}
	return r, nil
}

// lookup gives the template that a `use` names, or nil after a problem.
func (e *expander) lookup(use *node) *templateDecl {
	if !e.want(use, stringKind, `"use"`) {
		return nil
	}
	file := e.own
	if use.at.in != nil {
		file = use.at.in.file
	}
	bad := func(format string, args ...any) *Diagnostic { return e.add(badUse, use.at, format, args...) }
	switch text := use.text; {
	case strings.Contains(text, "${{"):
		bad("use must be a constant: what a file needs is known before any value is").Suggestion = "use the template in each case, with its own when"
	case text == "" || strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) || unicode.IsSpace(c) }) || strings.Contains(text, `\`):
		bad("%q names no template", shorten(text, 60)).Suggestion = useHint
	case strings.HasPrefix(text, "git+"):
		remote, err := parseRemote(text)
		if err != nil {
			bad("%v", err).Suggestion = useHint
			return nil
		}
		return e.fromFile(use, templateSource{remote})
	case strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../"):
		from := file.from.beside(text)
		if !fs.ValidPath(from.Path) || from.Path == "." {
			bad("%q leaves the repository", shorten(text, 60)).Suggestion = "paths are relative to the file that says use"
			return nil
		}
		return e.fromFile(use, from)
	case strings.Contains(text, "://"):
		bad("%q names no template", shorten(text, 60)).Suggestion = useHint
	case strings.Contains(text, "/") || strings.HasSuffix(text, ".yaml") || strings.HasSuffix(text, ".yml"):
		bad("%q is no name of a template", shorten(text, 60)).Suggestion = "a file starts with ./, as in use: ./" + strings.TrimLeft(text, "/")
	default:
		return e.named(use, file, text)
	}
	return nil
}

const useHint = "write the name of a template, a file (./ci/go.yaml), or git+https://HOST/REPOSITORY//FILE@COMMIT"

func (e *expander) named(use *node, file *templateFile, name string) *templateDecl {
	if t, ok := file.named[name]; ok {
		t.used = true
		return t
	}
	var names []string
	for _, t := range file.order {
		names = append(names, t.name)
	}
	x := e.add(unknownTemplate, use.at, "there is no template %q", shorten(name, 60))
	switch near := nearest(name, names); {
	case near != "":
		x.Suggestion = fmt.Sprintf("did you mean %q?", near)
	case len(names) == 0:
		x.Suggestion = "define it: templates: { " + shorten(name, 60) + ": { steps: […] } }"
	default:
		x.Suggestion = "there are " + shorten(strings.Join(names, ", "), 200)
	}
	return nil
}

// The bounds of template files: so many of them, and so much in all, cost as much as one large Ottofile.
const (
	maxTemplateFiles     = 100
	maxTemplateFileBytes = 1 << 20
)

// fromFile gives the template that a file is, and reads it at its first use.
func (e *expander) fromFile(use *node, from templateSource) *templateDecl {
	if file, ok := e.files[from.String()]; ok {
		return file.root
	}
	if len(e.files) == maxTemplateFiles {
		e.add(templateBounds, use.at, "more than %d files are used as templates", maxTemplateFiles)
		return nil
	}
	file := &templateFile{from: from, src: newSource(from.String(), ""), named: map[string]*templateDecl{}}
	e.files[from.String()] = file
	data, ok := e.read(use, from)
	if !ok {
		return nil
	}
	if e.fileBytes += len(data); e.fileBytes > maxTemplateFileBytes {
		e.add(templateBounds, use.at, "the files that are used as templates have more than %d bytes", maxTemplateFileBytes)
		return nil
	}
	e.parseFile(use, file, data)
	return file.root
}

// parseFile reads a template file. It passes the same gate as an Ottofile.
func (e *expander) parseFile(use *node, file *templateFile, data []byte) {
	own, before := e.src, len(e.report.list)
	e.src = file.src
	root := parse(e.report, data)
	file.src, e.src = e.src, own
	for _, d := range e.report.list[before:] {
		d.Used = use.at.place(own)
		if outer := use.at.uses(own); outer != "" {
			d.Used += ", used at " + outer
		}
		if d.Code == emptyFile {
			d.Suggestion = "the smallest template is:  steps: [{sh: make test}]"
		}
	}
	if root == nil {
		return
	}
	seat(root, &frame{file: file}, map[*node]bool{})
	if p, ok := root.find("templates"); ok {
		e.addTemplates(file, p.value)
		bare := *root
		bare.pairs = nil
		for _, p := range root.pairs {
			if p.key.text != "templates" {
				bare.pairs = append(bare.pairs, p)
			}
		}
		root = &bare
	}
	file.root = e.template(root, root, file)
	file.root.name = file.from.String()
}

func (e *expander) addTemplates(file *templateFile, section *node) {
	for _, t := range e.templates(section, file) {
		file.order = append(file.order, t)
		file.named[t.name] = t
	}
}

// seat notes for all nodes of a file where they are from.
func seat(n *node, in *frame, seen map[*node]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	n.at.in = in
	for _, p := range n.pairs {
		p.key.at.in = in
		seat(p.value, in, seen)
	}
	for _, item := range n.items {
		seat(item, in, seen)
	}
}

// read gives the content of a template file, if it is what otto.lock says.
func (e *expander) read(use *node, from templateSource) ([]byte, bool) {
	if remote, ok := from.remote(); ok {
		return e.readRemote(use, remote)
	}
	if e.facts.Tree == nil {
		e.add(noTemplateFile, use.at, "%s cannot be read: of the source, only the Ottofile is known here", from)
		return nil, false
	}
	data, err := e.facts.Tree.ReadFile(from.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.add(noTemplateFile, use.at, "there is no file %s", from).Suggestion = "paths are relative to the file that says use"
		return nil, false
	case err != nil:
		e.add(noTemplateFile, use.at, "%s cannot be read: %v", from, err)
		return nil, false
	}
	return data, e.locked(use, from, LockEntry{Digest: digestOf(data)})
}

// readRemote gives a file that the caller has fetched, or its copy in the tree.
func (e *expander) readRemote(use *node, remote Remote) ([]byte, bool) {
	asked := remote
	if !e.resolving && !remote.Pinned() {
		entry, ok := e.lockOf(use).Templates[remote.String()]
		if !ok {
			e.add(notPinned, use.at, "%s is a branch or a tag, and otto.lock does not say which commit", shorten(remote.Ref, 60)).
				Suggestion = "run otto lock, and commit otto.lock"
			return nil, false
		}
		asked.Ref = entry.Commit
	}
	file, ok := e.facts.Remotes[asked]
	if !ok && !e.resolving {
		file, ok = e.vendored(use, remote, asked)
	}
	if !ok {
		e.missing = append(e.missing, asked)
		e.add(notFetched, use.at, "%s is not here", remote).
			Suggestion = "otto run, explain and validate fetch it; a server plans with a copy in the source: otto lock --vendor"
		return nil, false
	}
	return file.Data, e.locked(use, templateSource{remote}, LockEntry{Commit: file.Commit, Digest: digestOf(file.Data)})
}

// vendored reads a copy from the tree. It counts only beside the digest that otto.lock has of it: a copy proves nothing itself.
func (e *expander) vendored(use *node, remote, asked Remote) (RemoteFile, bool) {
	if _, ok := e.lockOf(use).Templates[remote.String()]; !ok || e.facts.Tree == nil {
		return RemoteFile{}, false
	}
	data, err := e.facts.Tree.ReadFile(path.Join(path.Dir(e.own.from.Path), asked.Vendored()))
	return RemoteFile{Commit: asked.Ref, Data: data}, err == nil
}
