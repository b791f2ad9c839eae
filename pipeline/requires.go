package pipeline

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What a task requires of its agent. A requirement has one of six types, by how it is written:
//
//	gpu: true               a boolean: true is offered by whoever offers anything but false
//	cores: 4                a number: the least
//	memory: 2GiB            a size, in bytes: the least
//	os: linux               a text: equal, or one of a list that is offered
//	tools: [helm, kubectl]  a set: all of them
//	go: ">=1.25 <2"         a version range: within all bounds
//
// In the plan a size is its number of bytes, a set is sorted, and a range is an object from operator to version. The SQL function
// fits holds them against what agents offer.

// Range is a version range: by the operators >=, >, <=, <, = and !=, a version each.
type Range map[string]string

const (
	maxSet      = 100     // of members
	maxSize     = 1 << 53 // of bytes: what JSON numbers hold exactly
	maxRequired = 1000    // characters of one text
)

var (
	capabilityName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	decimal        = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	lossyDecimal   = regexp.MustCompile(`^[0-9]+\.[0-9]+0$`)
	sizeText       = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)$`)
	rangeText      = regexp.MustCompile(`^[<>=!~^]`)
	boundText      = regexp.MustCompile(`^([<>=!~^]+)[ ]*([^ ,<>=!~^]*)[ ,]*`)
	versionText    = regexp.MustCompile(`^v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,5})([-A-Za-z~+_][-A-Za-z0-9.~+_]*)?$`)
)

// sizeNames are the capabilities that are sizes however they are written; any other can be compared with one: ">= 20GiB".
func sizeNames() []string { return []string{"memory", "disk"} }

// requires reads what an agent must offer.
func (d *decoder) requires(n *node) []capabilityDecl {
	if !d.want(n, mappingKind, "requires") {
		return nil
	}
	out := make([]capabilityDecl, 0, len(n.pairs))
	for _, p := range n.pairs {
		if !capabilityName.MatchString(p.key.text) || len(p.key.text) > maxName {
			d.add(badCapability, p.key.at, "%q cannot be the name of a capability", shorten(p.key.text, 60)).
				Suggestion = "use letters, digits, _, . and -"
			continue
		}
		if v, ok := d.capability(p.key.text, p.value); ok {
			out = append(out, capabilityDecl{p.key.text, val[any]{v, p.value}})
		}
	}
	return out
}

func (d *decoder) capability(name string, n *node) (any, bool) {
	switch n.kind {
	case stringKind:
		if d.hasExpr(n) {
			return nil, false
		}
		return d.capabilityText(name, n)
	case boolKind:
		return strings.EqualFold(n.text, "true"), true
	case numberKind:
		return d.capabilityNumber(name, n)
	case listKind:
		return d.capabilitySet(name, n)
	case brokenKind:
	default:
		d.add(badCapability, n.at, "the capability %s must be a string, a boolean, a number or a list, and this is %s", name, n.kind)
	}
	return nil, false
}

// capabilityText reads a text, a size or a version range.
func (d *decoder) capabilityText(name string, n *node) (any, bool) {
	text := strings.TrimSpace(n.text)
	switch {
	case text == "" || len(text) > maxRequired:
		d.add(badCapability, n.at, "the capability %s must have from 1 to %d characters", name, maxRequired)
		return nil, false
	case slices.Contains(sizeNames(), name):
		return d.size(name, strings.TrimSpace(strings.TrimPrefix(text, ">=")), n)
	case rangeText.MatchString(text):
		if least, ok := strings.CutPrefix(text, ">="); ok {
			if m := sizeText.FindStringSubmatch(strings.TrimSpace(least)); m != nil && isUnit(m[2]) {
				return d.size(name, strings.TrimSpace(least), n)
			}
		}
		return d.versionRange(name, text, n)
	}
	return n.text, true
}

func (d *decoder) capabilityNumber(name string, n *node) (any, bool) {
	f, err := strconv.ParseFloat(n.text, 64)
	switch {
	case slices.Contains(sizeNames(), name):
		d.add(badSize, n.at, "the size %s has no unit", shorten(n.text, 40)).Suggestion = fmt.Sprintf("write %sGiB or %sMiB", shorten(n.text, 20), shorten(n.text, 20))
		return nil, false
	case !decimal.MatchString(n.text) || err != nil || f > math.MaxInt32:
		d.add(badCapability, n.at, "%s is not a plain decimal number up to %d", shorten(n.text, 40), math.MaxInt32).
			Suggestion = fmt.Sprintf("quote it to compare it as text: %q", shorten(n.text, 40))
		return nil, false
	case lossyDecimal.MatchString(n.text):
		d.add(lossyVersion, n.at, "%s is the number %s here", shorten(n.text, 40), strconv.FormatFloat(f, 'f', -1, 64)).
			Suggestion = fmt.Sprintf("for a version write a range: %q", ">="+shorten(n.text, 20))
	}
	if f == math.Trunc(f) {
		return int64(f), true
	}
	return f, true
}

func (d *decoder) capabilitySet(name string, n *node) (any, bool) {
	if len(n.items) == 0 || len(n.items) > maxSet {
		d.add(badCapability, n.at, "the capability %s has %d members; from 1 to %d are allowed", name, len(n.items), maxSet)
		return nil, false
	}
	set := make([]string, 0, len(n.items))
	for _, item := range n.items {
		v, ok := d.str(item, "a member of "+name)
		if ok && (v.v == "" || len(v.v) > maxRequired) {
			d.add(badCapability, item.at, "a member of %s must have from 1 to %d characters", name, maxRequired)
			ok = false
		}
		if !ok {
			return nil, false
		}
		set = append(set, v.v)
	}
	slices.Sort(set)
	return slices.Compact(set), true
}

// sizeUnits are the units of sizes: powers of 1000 with and without B, powers of 1024 with i.
func sizeUnits() []string {
	return []string{"B", "K", "kB", "KB", "KiB", "M", "MB", "MiB", "G", "GB", "GiB", "T", "TB", "TiB"}
}

// size reads a number of bytes.
func (d *decoder) size(name, text string, n *node) (any, bool) {
	m := sizeText.FindStringSubmatch(text)
	if m == nil {
		d.add(badSize, n.at, "%s is a size, and %q is none", name, shorten(text, 40)).Suggestion = "write it as in 512MiB, 2GiB or 16G"
		return nil, false
	}
	if !slices.Contains(sizeUnits(), m[2]) {
		x := d.add(badSize, n.at, "the size %s has the unit %q", shorten(text, 40), shorten(m[2], 20))
		x.Suggestion = "the units are " + strings.Join(sizeUnits(), ", ")
		if m[2] == "" {
			x.Message, x.Suggestion = fmt.Sprintf("the size %s has no unit", shorten(text, 40)), fmt.Sprintf("write %[1]sGiB or %[1]sMiB", shorten(text, 20))
		} else if near := nearestUnit(m[2]); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", m[1]+near)
		}
		return nil, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	step := 1000.0
	if strings.Contains(m[2], "i") {
		step = 1024
	}
	bytes := math.Ceil(f * math.Pow(step, float64(strings.Index("BKMGT", strings.ToUpper(m[2][:1])))))
	if err != nil || bytes < 1 || bytes > maxSize {
		d.add(badSize, n.at, "the size %s must be from 1 byte to 8192 TiB", shorten(text, 40))
		return nil, false
	}
	return int64(bytes), true
}

// isUnit says whether a word is a unit of sizes, in whatever case: no version ends so.
func isUnit(word string) bool {
	return slices.ContainsFunc(sizeUnits(), func(u string) bool { return strings.EqualFold(u, word) })
}

// nearestUnit is the unit that differs in nothing but case, or the nearest.
func nearestUnit(word string) string {
	for _, u := range sizeUnits() {
		if strings.EqualFold(u, word) {
			return u
		}
	}
	lower := make([]string, 0, len(sizeUnits()))
	for _, u := range sizeUnits() {
		lower = append(lower, strings.ToLower(u))
	}
	if near := nearest(word, lower); near != "" {
		return sizeUnits()[slices.Index(lower, near)]
	}
	return ""
}

// versionRange reads bounds separated by spaces or commas. ~> 3.8.5 is what 3.8 may become by its last number: >=3.8.5 <3.9.
func (d *decoder) versionRange(name, text string, n *node) (any, bool) {
	out := Range{}
	wrong := func(suggestion, format string, args ...any) (any, bool) {
		d.add(badRange, n.at, format, args...).Suggestion = suggestion
		return nil, false
	}
	for rest := text; rest != ""; {
		m := boundText.FindStringSubmatch(rest)
		if m == nil {
			return wrong("write an operator before each version, as in >=1.25 <2", "%q is not a bound of a version range", shorten(rest, 40))
		}
		rest = rest[len(m[0]):]
		op, version := m[1], versionText.FindStringSubmatch(m[2])
		if version == nil {
			return wrong("write up to six numbers with dots between, as in 1.25 or 3.13.0-rc1", "the capability %s has the bound %q, and %q is not a version", name, shorten(strings.TrimSpace(m[0]), 40), shorten(m[2], 40))
		}
		bounds := Range{op: m[2]}
		switch op {
		case "==":
			bounds = Range{"=": m[2]}
		case "~>":
			bounds = Range{">=": m[2], "<": nextVersion(version[1])}
		case ">=", ">", "<=", "<", "=", "!=":
		default:
			return wrong(meantOperator(op, m[2]), "the operator %q of the capability %s is unknown", shorten(op, 10), name)
		}
		for op, version := range bounds {
			if _, twice := out[op]; twice {
				return wrong("keep one of them", "the capability %s has the bound %s twice", name, op)
			}
			out[op] = version
		}
	}
	return out, true
}

// meantOperator suggests what an operator of another tool is here.
func meantOperator(op, version string) string {
	switch op {
	case "=>", "=<":
		return fmt.Sprintf("did you mean %q?", op[1:]+"="+version)
	case "^", "~":
		return fmt.Sprintf("did you mean %q?", "~> "+version)
	}
	return "the operators are >=, >, <=, <, =, != and ~>"
}

// nextVersion is the first that ~> does not allow: of 3.8.5 it is 3.9, of 3.8 and of 3 it is 4.
func nextVersion(numbers string) string {
	parts := strings.Split(numbers, ".")
	parts = parts[:max(1, len(parts)-1)]
	last, _ := strconv.Atoi(parts[len(parts)-1]) // nine digits at most
	parts[len(parts)-1] = strconv.Itoa(last + 1)
	return strings.Join(parts, ".")
}
