package pipeline

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how long a name may be, in characters: it stands in tables, check lists and file names.
const maxName = 100

// name reads what people call something.
func (d *decoder) name(n *node, what string) val[string] {
	v, ok := d.str(n, what)
	if !ok {
		return v
	}
	if n.filled {
		v.v = strings.TrimSpace(v.v) // a value that is empty leaves the space before it
	}
	switch {
	case strings.TrimSpace(v.v) == "":
		d.add(badName, n.at, "%s must not be empty", what)
	case v.v != strings.TrimSpace(v.v):
		d.add(badName, n.at, "%s must not start or end with a space", what)
	case strings.ContainsFunc(v.v, unicode.IsControl):
		d.add(badName, n.at, "%s must be one line of text", what)
	case utf8.RuneCountInString(v.v) > maxName:
		d.add(badName, n.at, "%s has %d characters; at most %d are allowed", what, utf8.RuneCountInString(v.v), maxName)
	}
	return v
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// env reads variables. A value is the text that stands in the file: 1.10 stays "1.10", and 0755 stays "0755".
func (d *decoder) env(n *node) []envDecl {
	if !d.want(n, mappingKind, "env") {
		return nil
	}
	out := make([]envDecl, 0, len(n.pairs))
	for _, p := range n.pairs {
		switch name := p.key.text; {
		case !envName.MatchString(name):
			d.add(badEnvName, p.key.at, "%q cannot be the name of a variable", shorten(name, 60)).
				Suggestion = "use letters, digits and _, and no digit first"
		case reservedName(name):
			d.add(reservedEnv, p.key.at, "the variable %s is reserved: Otto sets it itself", name).
				Suggestion = "choose a name that is not CI, OTTO and does not start with OTTO_"
		case p.value.isScalar():
			if !d.hasExpr(p.value) {
				out = append(out, envDecl{name, val[string]{p.value.text, p.value}})
			}
		case p.value.kind == nullKind:
			d.add(badEnvValue, p.value.at, "the variable %s has no value", name).Suggestion = fmt.Sprintf(`write  %s: ""  for an empty one`, name)
		case p.value.kind != brokenKind:
			d.add(badEnvValue, p.value.at, "the variable %s must be text, and this is %s", name, p.value.kind)
		}
	}
	return out
}

// reservedName tells the variables that Otto sets for every step.
func reservedName(name string) bool {
	return name == "CI" || name == "OTTO" || strings.HasPrefix(name, "OTTO_")
}

// dir reads a directory below the workspace.
func (d *decoder) dir(n *node) val[string] {
	v, ok := d.str(n, "dir")
	if !ok {
		return v
	}
	clean := path.Clean(v.v)
	switch {
	case v.v == "":
		d.add(badDir, n.at, "dir must not be empty")
	case path.IsAbs(v.v) || strings.HasPrefix(v.v, "~") || strings.Contains(v.v, ":"):
		d.add(badDir, n.at, "%q is not below the workspace", shorten(v.v, 60)).Suggestion = "write it relative to the workspace, as in dir: web"
	case clean == ".." || strings.HasPrefix(clean, "../"):
		d.add(badDir, n.at, "%q leaves the workspace", shorten(v.v, 60))
	case strings.ContainsFunc(v.v, unicode.IsControl) || strings.Contains(v.v, `\`):
		d.add(badDir, n.at, `dir must be one line, and its parts are separated by "/"`)
	}
	if clean == "." {
		return val[string]{}
	}
	return val[string]{clean, n}
}

// mode reads how the tasks of a stage run.
func (d *decoder) mode(n *node) val[Mode] {
	v, ok := d.str(n, "a mode")
	if !ok {
		return val[Mode]{}
	}
	for _, m := range modes() {
		if v.v == string(m) {
			return val[Mode]{m, n}
		}
	}
	x := d.add(unknownMode, n.at, "the mode %q is unknown", shorten(v.v, 60))
	x.Suggestion = "the modes are linear, parallel and fanout"
	if near := nearest(v.v, []string{string(Linear), string(Parallel), string(Fanout)}); near != "" {
		x.Suggestion = fmt.Sprintf("did you mean %q? %s", near, x.Suggestion)
	}
	return val[Mode]{}
}

func modes() []Mode { return []Mode{Linear, Parallel, Fanout} }

// onLost reads what follows the loss of an agent.
func (d *decoder) onLost(n *node) val[OnLost] {
	v, ok := d.str(n, "on_lost")
	if !ok {
		return val[OnLost]{}
	}
	if v.v != string(OnLostRetry) && v.v != string(OnLostFail) {
		d.add(badOnLost, n.at, "on_lost is %q", shorten(v.v, 60)).Suggestion = "write retry or fail"
	}
	return val[OnLost]{OnLost(v.v), n}
}
