package pipeline

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
)

// LockFile is the name of the file, beside the Ottofile, that pins what templates resolve to.
const LockFile = "otto.lock"

// lockVersion is the version of the lock's form.
const lockVersion = 1

// Lock says what the templates of an Ottofile resolved to: for each file of the tree, and for each git source, its digest.
type Lock struct {
	Version   int                  `json:"version"`
	Templates map[string]LockEntry `json:"templates"`
}

// LockEntry is what one template file resolved to.
type LockEntry struct {
	Commit string `json:"commit,omitempty"` // of a git source
	Digest string `json:"digest"`           // "sha256:" and 64 hex digits
}

// Encode writes the lock: sorted, and equal for equal locks.
func (l Lock) Encode() ([]byte, error) {
	if l.Templates == nil {
		l.Templates = map[string]LockEntry{}
	}
	var b bytes.Buffer
	w := json.NewEncoder(&b)
	w.SetEscapeHTML(false)
	w.SetIndent("", "  ")
	if err := w.Encode(l); err != nil {
		return nil, fmt.Errorf("encode %s: %w", LockFile, err)
	}
	return b.Bytes(), nil
}

var lockDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ParseLock reads a lock.
func ParseLock(data []byte) (Lock, error) {
	var l Lock
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Lock{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Lock{}, errors.New("something follows its end")
	}
	if l.Version != lockVersion {
		return Lock{}, fmt.Errorf("its version is %d, and this version of Otto reads %d", l.Version, lockVersion)
	}
	for name, entry := range l.Templates {
		if !lockDigest.MatchString(entry.Digest) || entry.Commit != "" && !commitID.MatchString(entry.Commit) {
			return Lock{}, fmt.Errorf("the entry of %s has no digest, or no commit, that could be one", shorten(name, 100))
		}
	}
	return l, nil
}

// Changes says what differs from an older lock, a line for each template.
func (l Lock) Changes(old Lock) []string {
	var out []string
	for name, entry := range l.Templates {
		before, was := old.Templates[name]
		switch {
		case !was:
			out = append(out, "added "+name)
		case before.Commit != entry.Commit:
			out = append(out, fmt.Sprintf("changed %s: commit %s to %s", name, before.Commit, entry.Commit))
		case before != entry:
			out = append(out, fmt.Sprintf("changed %s: %s to %s", name, before.Digest, entry.Digest))
		}
	}
	for name := range old.Templates {
		if _, is := l.Templates[name]; !is {
			out = append(out, "removed "+name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return bytes.Compare([]byte(a), []byte(b)) })
	return out
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// lockOf reads the lock when the first template needs it; without one, it is empty.
func (e *expander) lockOf(use *node) Lock {
	if e.lock != nil {
		return *e.lock
	}
	e.lock = &Lock{}
	if e.facts.Tree == nil {
		return *e.lock
	}
	name := path.Join(path.Dir(e.own.from.Path), LockFile)
	data, err := e.facts.Tree.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return *e.lock
	}
	e.hasLock = true
	if err == nil {
		*e.lock, err = ParseLock(data)
	}
	if err != nil {
		e.badLock = true
		e.add(badLock, e.lockPlace(name, data, err), "%s cannot be read: %v", LockFile, err).Suggestion = "run otto lock to write it anew"
	}
	return *e.lock
}

// lockPlace is where the lock is wrong, as far as the JSON library tells.
func (e *expander) lockPlace(name string, data []byte, err error) span {
	text := string(bytes.ToValidUTF8(data, []byte("?")))
	src := newSource(name, text)
	at := span{line: 1, column: 1, width: 1}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		at = src.at(min(max(0, int(syntax.Offset)-1), len(text)))
	}
	at.in = &frame{file: &templateFile{src: src}}
	return at
}

// locked compares a template file with the lock, and notes what it resolved to.
func (e *expander) locked(use *node, from templateSource, found LockEntry) bool {
	e.resolved[from.String()] = found
	if e.resolving {
		return true
	}
	want, ok := e.lockOf(use).Templates[from.String()]
	_, remote := from.remote()
	switch {
	case e.badLock:
	case !ok && !e.hasLock:
	case !ok && remote:
		e.add(notPinned, use.at, "otto.lock does not have %s", from).Suggestion = "run otto lock, and commit otto.lock"
	case !ok:
		e.add(notLocked, use.at, "otto.lock does not have %s", from).Suggestion = "run otto lock, and commit otto.lock"
		return true
	case want.Digest != found.Digest:
		e.add(lockMismatch, use.at, "%s is not what otto.lock says: it has %s, and the lock says %s", from, found.Digest, want.Digest).
			Suggestion = "if the change is meant, run otto lock and commit otto.lock"
	case remote && want.Commit != found.Commit:
		e.add(lockMismatch, use.at, "%s is not what otto.lock says: it is commit %s, and the lock says %s", from, found.Commit, want.Commit).
			Suggestion = "if the change is meant, run otto lock and commit otto.lock"
	default:
		return true
	}
	return !e.hasLock
}

// Resolution is what the templates of an Ottofile come from.
type Resolution struct {
	Missing []Remote // to be fetched into Facts.Remotes before the rest is known
	Lock    Lock     // what otto.lock should say
}

// Resolve tells what the templates of an Ottofile come from, whatever otto.lock says: branches and tags count as what
// Facts.Remotes has of them. Call it again with what is missing until nothing is.
func Resolve(f File, facts Facts) (Resolution, Diagnostics) {
	e, r := expanded(f, facts, resolveAnew)
	if e == nil {
		return Resolution{}, r.sorted()
	}
	return Resolution{Missing: e.missing, Lock: Lock{Version: lockVersion, Templates: e.resolved}}, r.sorted()
}

// MissingRemotes lists the git sources that planning needs, by otto.lock, and Facts.Remotes lacks. Those that they use in turn
// are known once they are there.
func MissingRemotes(f File, facts Facts) []Remote {
	if !bytes.Contains(f.Data, []byte("use")) {
		return nil // most files use no templates, and need not be read twice
	}
	e, _ := expanded(f, facts, resolveByLock)
	if e == nil {
		return nil
	}
	return e.missing
}

func expanded(f File, facts Facts, mode resolveMode) (*expander, *report) {
	r := newReport(newSource(f.Name, ""))
	root := parse(r, f.Data)
	if root == nil {
		return nil, r
	}
	e := newExpander(&decoder{report: r, lang: newLanguage()}, f, facts)
	e.resolving = mode == resolveAnew
	e.file(root)
	return e, r
}

// resolveMode says whether otto.lock counts.
type resolveMode int

const (
	resolveByLock resolveMode = iota
	resolveAnew
)
