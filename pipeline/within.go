package pipeline

import (
	"strings"
	"unicode/utf8"
)

// within is the place in the file of a byte of a scalar's text. A literal block keeps its lines, a value on one
// line its characters; folded and escaped text is followed from its start.
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
	if at, ok := s.along(n, offset); ok {
		at.width = width
		return at
	}
	return n.at
}

// along follows the text of a scalar in the file, over escapes and folded lines, up to a byte of it. What it cannot follow it
// leaves alone.
func (s *source) along(n *node, offset int) (span, bool) {
	o := s.offset(n.at)
	if o < 0 || n.style == literal {
		return span{}, false
	}
	quote := s.text[o]
	switch n.style {
	case quoted:
		o++
	case folded:
		end := strings.IndexByte(s.text[o:], '\n')
		if end < 0 {
			return span{}, false
		}
		o += end + 1
		o += len(s.text[o:]) - len(strings.TrimLeft(s.text[o:], " "))
	}
	for at := 0; at < offset; {
		if o >= len(s.text) {
			return span{}, false
		}
		size, ok := s.step(n, quote, o, at)
		if !ok {
			return span{}, false
		}
		_, width := utf8.DecodeRuneInString(n.text[at:])
		o, at = o+size, at+width
	}
	return s.at(o), true
}

// step is how many bytes of the file give the character of a scalar's text at a byte.
func (s *source) step(n *node, quote byte, o, at int) (int, bool) {
	want, _ := utf8.DecodeRuneInString(n.text[at:])
	here, width := utf8.DecodeRuneInString(s.text[o:])
	switch {
	case here == '\n' && (want == ' ' || want == '\n'):
		blank := len(s.text[o:]) - len(strings.TrimLeft(s.text[o:], " \n"))
		return blank, want == ' '
	case n.style == quoted && quote == '\'' && here == '\'' && want == '\'' && strings.HasPrefix(s.text[o:], "''"):
		return 2, true
	case n.style == quoted && quote == '"' && here == '\\':
		return escapeSize(s.text[o:], want)
	case here == want:
		return width, true
	}
	return 0, false
}

// escapeSize is how many bytes the escape of a character in double quotes has.
func escapeSize(text string, want rune) (int, bool) {
	if len(text) < 2 {
		return 0, false
	}
	switch size := map[byte]int{'x': 4, 'u': 6, 'U': 10}[text[1]]; {
	case size > 0:
		return size, len(text) >= size
	case strings.IndexByte("\"\\/ 0abtnvfreN_LP\t", text[1]) >= 0:
		return 2, true
	}
	return 0, want < 0
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
