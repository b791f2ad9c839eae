package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

// plain is the value of a node without its place: text of a string, number or boolean as typed values, lists as lists.
func (n *node) plain() any {
	switch n.kind {
	case boolKind:
		return strings.EqualFold(n.text, "true")
	case numberKind:
		return json.Number(n.text)
	case listKind:
		out := make([]any, 0, len(n.items))
		for _, item := range n.items {
			out = append(out, item.plain())
		}
		return out
	case mappingKind:
		out := make(map[string]any, len(n.pairs))
		for _, p := range n.pairs {
			out[p.key.text] = p.value.plain()
		}
		return out
	case nullKind:
		return nil
	}
	return n.text
}

// read takes a value that was given, and gives it with the parameter's type. A text is read by the type, because that is
// all that a command line has.
func (p *paramDecl) read(given any) (any, error) {
	v, err := p.convert(given)
	if err != nil {
		return nil, err
	}
	if err := p.bounds(v); err != nil {
		return nil, err
	}
	items := []any{v}
	if list, ok := v.([]any); ok {
		items = list
	}
	for _, item := range items {
		if err := p.isAllowed(item); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// isAllowed looks for a value, or an item of a list, in the enum.
func (p *paramDecl) isAllowed(v any) error {
	if len(p.enum) == 0 {
		return nil
	}
	text, one := fmt.Sprint(v), *p
	if p.typ.v == paramList {
		one.typ.v = paramString
	}
	allowed := make([]string, 0, len(p.enum))
	for _, n := range p.enum {
		if same, err := one.convert(n.plain()); err == nil && fmt.Sprint(same) == text {
			return nil
		}
		allowed = append(allowed, n.text)
	}
	words := strings.Join(allowed[:min(len(allowed), briefItems)], ", ")
	if near := nearest(text, allowed); near != "" {
		return fmt.Errorf("%q is none of %s; did you mean %q?", shorten(text, 40), words, near)
	}
	return fmt.Errorf("%q is none of %s", shorten(text, 40), words)
}

func (p *paramDecl) convert(given any) (any, error) {
	text, isText := given.(string)
	switch p.typ.v {
	case paramBoolean:
		if b, ok := given.(bool); ok {
			return b, nil
		}
		if b, err := strconv.ParseBool(strings.ToLower(text)); isText && err == nil && len(text) > 1 {
			return b, nil
		}
		return nil, fmt.Errorf("%s is not true or false", inWords(given))
	case paramInteger, paramNumber:
		return p.number(given)
	case paramList:
		return p.list(given)
	}
	if !isText {
		return nil, fmt.Errorf("%s is not a string; quote it", inWords(given))
	}
	return text, nil
}

func (p *paramDecl) number(given any) (any, error) {
	text := fmt.Sprint(given)
	if i, err := strconv.ParseInt(text, 10, 64); err == nil && p.typ.v == paramInteger {
		return i, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || !decimalText.MatchString(text) && !isFloat(given):
		return nil, fmt.Errorf("%s is not a number", inWords(given))
	case p.typ.v == paramNumber:
		return f, nil
	case f != math.Trunc(f) || math.Abs(f) > 1<<53:
		return nil, fmt.Errorf("%s is not a whole number", inWords(given))
	}
	return int64(f), nil
}

var decimalText = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

func isFloat(v any) bool {
	_, ok := v.(float64)
	return ok
}

// list reads a list of strings; as a text, its items are separated by commas.
func (p *paramDecl) list(given any) (any, error) {
	var items []any
	switch v := given.(type) {
	case []any:
		items = v
	case string:
		for item := range strings.SplitSeq(v, ",") {
			if v != "" {
				items = append(items, strings.TrimSpace(item))
			}
		}
	default:
		return nil, fmt.Errorf("%s is not a list", inWords(given))
	}
	out := make([]any, 0, len(items))
	for _, item := range items {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("the item %s is not a string; quote it", inWords(item))
		}
		out = append(out, text)
	}
	return out, nil
}

// bounds holds a value against min, max and pattern.
func (p *paramDecl) bounds(v any) error {
	var size float64
	var unit string
	switch v := v.(type) {
	case int64:
		size = float64(v)
	case float64:
		size = v
	case string:
		size, unit = float64(utf8.RuneCountInString(v)), " characters"
		if err := p.match(v); err != nil {
			return err
		}
	case []any:
		size, unit = float64(len(v)), " items"
		for _, item := range v {
			if err := p.match(fmt.Sprint(item)); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	switch {
	case p.min.at != nil && size < p.min.v:
		return fmt.Errorf("%s%s: it must be at least %s", strconv.FormatFloat(size, 'f', -1, 64), unit, p.min.at.text)
	case p.max.at != nil && size > p.max.v:
		return fmt.Errorf("%s%s: it must be at most %s", strconv.FormatFloat(size, 'f', -1, 64), unit, p.max.at.text)
	}
	return nil
}

// wholly matches a pattern, which has been looked at, with the whole of a text.
func wholly(pattern string) *regexp.Regexp { return regexp.MustCompile("^(?:" + pattern + ")$") }

func (p *paramDecl) match(text string) error {
	if p.whole == nil || p.whole.MatchString(text) {
		return nil
	}
	return fmt.Errorf("%q does not match %s", shorten(text, 40), p.pattern.v)
}

// bind gives each parameter its value: the one that was given, or its default.
func (d *decoder) bind(decls []paramDecl, given map[string]any, at *node) map[string]any {
	out := map[string]any{}
	var names []string
	for _, p := range decls {
		names = append(names, p.name.text)
		v, isGiven := given[p.name.text]
		switch {
		case isGiven:
			value, err := p.read(v)
			if err != nil {
				d.add(badParamValue, p.name.at, "the parameter %s is given as %s: %v", p.name.text, shorten(inWords(v), 60), err)
			}
			out[p.name.text] = value
		case p.required.v && p.fallback == nil && d.checking:
			out[p.name.text] = p.example()
		case p.required.v && p.fallback == nil:
			d.add(missingParam, p.name.at, "the parameter %s is required, and not given", p.name.text).
				Suggestion = fmt.Sprintf("give it:  -p %s=…", p.name.text)
		case p.fallback != nil:
			out[p.name.text], _ = p.read(p.fallback.plain()) // what does not fit has been noted
		}
		if out[p.name.text] == nil {
			out[p.name.text] = p.zero()
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if slices.Contains(names, name) {
			continue
		}
		x := d.add(unknownParam, at.at, "the parameter %q is given, and the file does not declare it", shorten(name, 60))
		x.Suggestion = "it declares " + strings.Join(names, ", ")
		if len(names) == 0 {
			x.Suggestion = "declare it:  params: { " + name + ": { type: string } }"
		} else if near := nearest(name, names); near != "" {
			x.Suggestion = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return out
}

// example is a value that stands for the one that a run must give, where only the file is checked.
func (p *paramDecl) example() any {
	if len(p.enum) > 0 {
		if v, err := p.convert(p.enum[0].plain()); err == nil {
			return v
		}
	}
	return p.zero()
}

// zero is the value of a parameter that nobody gives and that has no default.
func (p *paramDecl) zero() any {
	switch p.typ.v {
	case paramBoolean:
		return false
	case paramInteger:
		return int64(0)
	case paramNumber:
		return 0.0
	case paramList:
		return []any{}
	}
	return ""
}
