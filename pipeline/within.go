package pipeline

import (
	"strings"
	"unicode/utf8"
)

// within is the place in the file of a byte of a scalar's text. A literal block keeps its lines, a value on one
// line its characters; of folded and escaped text only the start is known.
func (s *source) within(n *node, offset, width int) span {
	s = n.at.source(s)
	before := n.text[:offset]
	switch {
	case n.style == literal:
		row := strings.Count(before, "\n")
		start := strings.LastIndexByte(before, '\n') + 1
		return span{
			line:   n.at.line + 1 + row,
			column: s.blockIndent(n, row) + utf8.RuneCountInString(before[start:]) + 1,
			width:  width,
			in:     n.at.in,
		}
	case n.style == plain || n.style == quoted:
		at := n.at
		if n.style == quoted {
			at.column++
		}
		o := s.offset(at)
		if o >= 0 && strings.HasPrefix(s.text[o:], n.text) && !strings.Contains(n.text, "\n") {
			at.column += utf8.RuneCountInString(before)
			at.width = width
			return at
		}
	}
	return n.at
}

// blockIndent is how many spaces stand in front of a row of a literal block's text.
func (s *source) blockIndent(n *node, row int) int {
	line := n.at.line + row // index of the row in the file: the block starts below its "|"
	if line >= len(s.lines) {
		return 0
	}
	rows := strings.SplitN(n.text, "\n", row+2)
	if row >= len(rows) {
		return 0
	}
	return max(0, len(s.lines[line])-len(rows[row]))
}
