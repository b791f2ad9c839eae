package pipeline

import "fmt"

// frame says how a node came to where the plan is made from: out of which file, and by which use of which template. The
// nodes of the Ottofile itself have none.
type frame struct {
	file     *templateFile
	template string // as its use names it; empty while nobody uses it
	used     span   // where the use stands, or the expression in whose place the node is
	inputs   map[string]*node
}

// file is the source of a place; own is that of a place without a frame.
func (s span) source(own *source) *source {
	if s.in == nil {
		return own
	}
	return s.in.file.src
}

// place is a place as people and editors write it.
func (s span) place(own *source) string {
	return fmt.Sprintf("%s:%d:%d", s.source(own).name, s.line, s.column)
}

// uses is the way from a place out to the Ottofile: "ci/go.yaml:4:7, used at Ottofile.yaml:12:9". It is empty in the Ottofile.
func (s span) uses(own *source) string {
	text := ""
	for in := s.in; in != nil && in.template != ""; in = in.used.in {
		if text != "" {
			text += ", used at "
		}
		text += in.used.place(own)
	}
	return text
}

// words says where a place is, to somebody who is looking at the Ottofile.
func (s span) words(own *source) string {
	if s.in == nil {
		return fmt.Sprintf("line %d, column %d", s.line, s.column)
	}
	return s.place(own) + ", used at " + s.uses(own)
}

// template names the template that a place belongs to.
func (s span) template() string {
	if s.in == nil {
		return ""
	}
	return s.in.template
}
