package pipeline

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

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
