package pipeline

import (
	"regexp"
	"strconv"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// maxParams bounds the parameters of a file, and of a template.
const maxParams = 100

// The types of parameters.
const (
	paramString  = "string"
	paramBoolean = "boolean"
	paramInteger = "integer"
	paramNumber  = "number"
	paramChoice  = "choice" // a string of its enum
	paramList    = "list"   // of strings
)

func paramTypes() []string {
	return []string{paramString, paramBoolean, paramInteger, paramNumber, paramChoice, paramList}
}

// paramDecl declares a parameter of a file or an input of a template.
type paramDecl struct {
	name     *node
	typ      val[string]
	fallback *node // the default
	enum     []*node
	pattern  val[string]
	whole    *regexp.Regexp // that the whole of a string must match
	min, max val[float64]
	about    val[string] // its description
	required val[bool]
}

var paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)

func paramObject() object[paramDecl] {
	return object[paramDecl]{what: "a parameter", doc: "A value that whoever asks for a run may give.", keys: []key[paramDecl]{
		{"type", "string (the default), boolean, integer, number, choice (a string of its enum) or list (of strings).", paramTypeType,
			func(d *decoder, p *paramDecl, _, v *node) { p.typ = d.oneOf(v, "a type", badParam, paramTypes()) }},
		{"default", "The value if none is given.", anyType, func(_ *decoder, p *paramDecl, _, v *node) { p.fallback = v }},
		{"enum", "The values that are allowed.", scalarListType, func(d *decoder, p *paramDecl, _, v *node) {
			if d.want(v, listKind, "enum") {
				p.enum = v.items
			}
		}},
		{"pattern", "A regular expression (RE2) that the whole of a string must match.", textType, func(d *decoder, p *paramDecl, _, v *node) { p.pattern = d.pattern(v) }},
		{"min", "The least number, or the least length of a string or list.", numberType, func(d *decoder, p *paramDecl, _, v *node) { p.min = d.number(v, `"min"`) }},
		{"max", "The greatest number, or the greatest length of a string or list.", numberType, func(d *decoder, p *paramDecl, _, v *node) { p.max = d.number(v, `"max"`) }},
		{"description", "What it is for; shown where a run is asked for.", textType, func(d *decoder, p *paramDecl, _, v *node) { p.about, _ = d.str(v, "a description") }},
		{"required", "A run must give it.", boolType, func(d *decoder, p *paramDecl, _, v *node) { p.required = d.boolean(v, `"required"`) }},
	}}
}

// params reads the declarations of parameters, in the order of the file.
func (d *decoder) params(n *node) []paramDecl {
	if !d.want(n, mappingKind, "params") {
		return nil
	}
	if len(n.pairs) > maxParams {
		d.add(tooMuch, n.at, "the file has %d parameters; at most %d are allowed", len(n.pairs), maxParams)
		return nil
	}
	out := make([]paramDecl, 0, len(n.pairs))
	for _, p := range n.pairs {
		if !paramName.MatchString(p.key.text) {
			d.add(badParam, p.key.at, "%q cannot be the name of a parameter", shorten(p.key.text, 60)).Suggestion = "use letters, digits and _, and no digit first"
			continue
		}
		out = append(out, d.param(p.key, p.value))
	}
	return out
}

// param reads one declaration. `name: text` is short for a string with a default.
func (d *decoder) param(name, n *node) paramDecl {
	p := paramDecl{}
	switch n.kind {
	case nullKind:
	case mappingKind:
		p = decodeObject(d, d.lang.param, n)
	case stringKind, boolKind, numberKind:
		p.fallback = n
		p.typ.v = map[kind]string{stringKind: paramString, boolKind: paramBoolean, numberKind: paramNumber}[n.kind]
		if _, err := strconv.ParseInt(n.text, 10, 64); n.kind == numberKind && err == nil {
			p.typ.v = paramInteger
		}
	default:
		d.want(n, mappingKind, "a parameter")
	}
	d.checkParam(&p, name)
	if p.fallback != nil {
		for _, v := range append([]*node{p.fallback}, p.fallback.items...) {
			d.hasExpr(v)
		}
	}
	return p
}

// maxEnum bounds the values that a parameter may have.
const maxEnum = 1000

// checkParam notes what the keys of a declaration say together.
func (d *decoder) checkParam(p *paramDecl, name *node) {
	p.name = name
	if p.typ.v == "" {
		p.typ.v = paramString
	}
	textual := p.typ.v == paramString || p.typ.v == paramChoice || p.typ.v == paramList
	switch {
	case p.typ.v == paramChoice && len(p.enum) == 0:
		d.add(badParam, name.at, "the choice %s has no values", name.text).Suggestion = "add enum: [staging, production]"
	case len(p.enum) > maxEnum:
		d.add(badParam, name.at, "%s has %d values; at most %d are allowed", name.text, len(p.enum), maxEnum)
		return
	case p.required.v && p.fallback != nil:
		d.add(badParam, p.required.at.at, "%s has a default, so it cannot be required", name.text).Suggestion = "remove one of them"
	case p.pattern.at != nil && !textual:
		d.add(badParam, p.pattern.at.at, "a pattern is for strings, and %s is of type %s", name.text, p.typ.v).Suggestion = "remove it"
	case p.min.at != nil && p.max.at != nil && p.min.v > p.max.v:
		d.add(badParam, p.min.at.at, "the least of %s is more than the most", name.text).Suggestion = "swap min and max"
	case p.typ.v == paramBoolean && (p.min.at != nil || p.max.at != nil):
		d.add(badParam, name.at, "%s is true or false, which has no min or max", name.text).Suggestion = "remove them"
	}
	if p.pattern.at != nil {
		p.whole = wholly(p.pattern.v)
	}
	one := *p
	if p.typ.v == paramList { // the enum is of its items
		one.typ.v, one.min, one.max = paramString, val[float64]{}, val[float64]{}
	}
	for _, v := range p.enum {
		if d.hasExpr(v) {
			continue
		}
		value, err := one.convert(v.plain())
		if err == nil {
			err = one.bounds(value)
		}
		if err != nil {
			d.add(badParamValue, v.at, "a value of the enum of %s does not fit: %v", name.text, err)
		}
	}
	if p.fallback == nil || eachHasExpr(p.fallback) {
		return
	}
	if _, err := p.read(p.fallback.plain()); err != nil {
		d.add(badParamValue, p.fallback.at, "the default of %s does not fit: %v", name.text, err)
	}
}

// celType is the type of the parameter in expressions.
func (p *paramDecl) celType() *types.Type {
	switch p.typ.v {
	case paramBoolean:
		return cel.BoolType
	case paramInteger:
		return cel.IntType
	case paramNumber:
		return cel.DoubleType
	case paramList:
		return cel.ListType(cel.StringType)
	}
	return cel.StringType
}
