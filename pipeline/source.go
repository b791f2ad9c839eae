package pipeline

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// source is the text of a file, cut into lines, for positions and snippets.
type source struct {
	name  string
	text  string
	lines []string // without their line ends; at least one
}

func newSource(name, text string) *source {
	return &source{name: name, text: text, lines: strings.Split(text, "\n")}
}

// span is a place in a source: where it starts, and how many characters a caret underlines there.
type span struct {
	line, column int // from 1, in characters
	width        int
}

// contextLines is how much of the file a snippet shows above the line it is about.
const contextLines = 2

// snippetWidth is how much of a line a snippet shows, in characters: a minified file must not fill the terminal.
const snippetWidth = 120

// snippet shows the place with the lines above it and a caret below.
func (s *source) snippet(at span) string {
	if at.line < 1 || at.line > len(s.lines) {
		return ""
	}
	var b strings.Builder
	// One window for all its lines, so that they stay aligned.
	from := 0
	if at.column > snippetWidth*3/4 {
		from = at.column - snippetWidth/2
	}
	for n := max(1, at.line-contextLines); n <= at.line; n++ {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%4d | %s", n, window(s.lines[n-1], from)), " ") + "\n")
	}
	before := window(s.lines[at.line-1], from)
	pad, left := at.column-1-from, 0
	for i := range before {
		if left == pad {
			before = before[:i]
			break
		}
		left++
	}
	// A tab stays a tab, or the caret stands elsewhere than the text above it.
	blank := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, before)
	width := min(max(at.width, 1), max(1, snippetWidth-left))
	fmt.Fprintf(&b, "     | %s%s", blank, strings.Repeat("^", width))
	return b.String()
}

// window cuts a line to the characters a snippet shows. It must not cost more than what it shows, plus one pass.
func window(line string, from int) string {
	n, start := 0, -1
	for i := range line {
		if n == from {
			start = i
		}
		if n == from+snippetWidth {
			return line[start:i] + "…"
		}
		n++
	}
	if start < 0 {
		return ""
	}
	return line[start:]
}

// offset is the byte at which a place starts, or -1 if there is none.
func (s *source) offset(at span) int {
	if at.line < 1 || at.line > len(s.lines) {
		return -1
	}
	o := 0
	for _, l := range s.lines[:at.line-1] {
		o += len(l) + 1
	}
	line := s.lines[at.line-1]
	for i := 1; i < at.column; i++ {
		_, size := utf8.DecodeRuneInString(line)
		if size == 0 {
			return -1
		}
		line, o = line[size:], o+size
	}
	return o
}

// at is the place of a byte.
func (s *source) at(offset int) span {
	before := s.text[:offset]
	line := strings.Count(before, "\n") + 1
	start := strings.LastIndexByte(before, '\n') + 1
	return span{line: line, column: utf8.RuneCountInString(before[start:]) + 1, width: 1}
}
