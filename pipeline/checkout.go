package pipeline

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// checkoutDecl is how much of the run's repository a task wants in its workspace.
type checkoutDecl struct {
	off        val[bool]
	depth      val[int]
	submodules val[bool]
	lfs        val[bool]
}

// checkoutAll is the depth of all history, which an Ottofile calls all.
const (
	checkoutAll  = -1
	checkoutWord = "all"
	mostCommits  = 1_000_000
)

func checkoutObject() object[checkoutDecl] {
	return object[checkoutDecl]{what: "checkout", doc: "How much of the run's repository is in the workspace.", keys: []key[checkoutDecl]{
		{"depth", "How many commits of history, from the run's commit backwards, or all. Default: 1.", depthType,
			func(d *decoder, c *checkoutDecl, _, v *node) { c.depth = d.depth(v) }},
		{"submodules", "Whether submodules are checked out, and theirs. Default: false.", orExpr(boolType),
			func(d *decoder, c *checkoutDecl, _, v *node) { c.submodules = d.boolean(v, `"submodules"`) }},
		{"lfs", "Whether the files that git-lfs keeps have their content. Default: false.", orExpr(boolType),
			func(d *decoder, c *checkoutDecl, _, v *node) { c.lfs = d.boolean(v, `"lfs"`) }},
	}}
}

// checkout reads a mapping, or whether there is any.
func (d *decoder) checkout(n *node) *checkoutDecl {
	if n.kind == mappingKind {
		c := decodeObject(d, d.lang.checkout, n)
		return &c
	}
	if n.kind != boolKind {
		d.add(badCheckout, n.at, "checkout is %q", shorten(n.text, 60)).Suggestion = "write false for an empty workspace, or a mapping with depth, submodules and lfs"
		return nil
	}
	v := d.boolean(n, `"checkout"`)
	return &checkoutDecl{off: val[bool]{!v.v, v.at}}
}

func (d *decoder) depth(n *node) val[int] {
	if n.kind == stringKind && n.text == checkoutWord {
		return val[int]{checkoutAll, n}
	}
	depth, err := strconv.Atoi(n.text)
	if n.kind != numberKind || err != nil || depth < 1 || depth > mostCommits {
		d.add(badCheckout, n.at, "the depth of a checkout is %q", shorten(strings.TrimSpace(n.text), 60)).Suggestion = "write a number of commits from 1, or all"
		return val[int]{}
	}
	return val[int]{depth, n}
}

// checkout writes it into the plan, where it says anything but the default.
func (l *lowering) checkout(c *checkoutDecl, ptr string) *Checkout {
	if c == nil {
		return nil
	}
	out := Checkout{Off: c.off.v, Depth: c.depth.v, Submodules: c.submodules.v, LFS: c.lfs.v}
	if out.Depth == 1 {
		out.Depth = 0
	}
	if out.Off {
		l.origins.sayAs(ptr+"/off", c.off.at, noteNoCheckout)
	}
	if out.Depth == checkoutAll {
		l.origins.sayAs(ptr+"/depth", c.depth.at, noteAllHistory)
	} else {
		l.origins.sayIf(ptr+"/depth", c.depth.at, out.Depth != 0)
	}
	l.origins.sayIf(ptr+"/submodules", c.submodules.at, out.Submodules)
	l.origins.sayIf(ptr+"/lfs", c.lfs.at, out.LFS)
	if out == (Checkout{}) {
		return nil
	}
	return &out
}

func depthType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "integer", Minimum: "1", Maximum: json.Number(strconv.Itoa(mostCommits))}, {Const: checkoutWord}, {Type: "string", Pattern: exprPattern}}}
}

func checkoutType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{boolType(), objectSchema(checkoutObject())}}
}
