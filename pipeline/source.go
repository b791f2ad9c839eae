package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// source is the text of a file, cut into lines, for positions and snippets.
type source struct {
	name  string
	text  string
	lines []string // without their line ends; at least one

	starts []int // the byte at which each starts

	allowed map[int][]Code // by line: the warnings and hints that a comment silences there
}

func newSource(name, text string) *source {
	s := &source{name: name, text: text, lines: strings.Split(text, "\n")}
	s.starts = make([]int, len(s.lines))
	for i := 1; i < len(s.lines); i++ {
		s.starts[i] = s.starts[i-1] + len(s.lines[i-1]) + 1
	}
	s.allowed = allowedByLine(s)
	return s
}

// line is the text of a line, from 1; the YAML library points behind the last one now and then.
func (s *source) line(n int) string {
	if n < 1 || n > len(s.lines) {
		return ""
	}
	return s.lines[n-1]
}

// span is a place in a source: where it starts, and how many characters a caret underlines there.
type span struct {
	line, column int // from 1, in characters
	width        int
	in           *frame // how it came here; nil in the Ottofile itself
}

// contextLines is how much of the file a snippet shows above the line it is about.
const contextLines = 2

// snippetWidth is how much of a line a snippet shows, in characters: a minified file must not fill the terminal.
const snippetWidth = 120

// snippet shows the place with the lines above it and a caret below.
func (s *source) snippet(at span) string {
	if s.text == "" || at.line < 1 || at.line > len(s.lines) {
		return ""
	}
	var b strings.Builder
	gutter := max(4, len(strconv.Itoa(at.line)))
	for n := max(1, at.line-contextLines); n < at.line; n++ {
		shown, _ := window(s.lines[n-1], 1)
		b.WriteString(strings.TrimRight(fmt.Sprintf("%*d | %s", gutter, n, shown), " ") + "\n")
	}
	shown, column := window(s.lines[at.line-1], at.column)
	// A tab stays a tab, or the caret stands elsewhere than the text above it.
	blank := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, prefix(shown, column-1))
	width := min(max(at.width, 1), max(1, snippetWidth-column))
	fmt.Fprintf(&b, "%*d | %s\n%*s | %s%s", gutter, at.line, strings.TrimRight(shown, " "), gutter, "", blank, strings.Repeat("^", width))
	return visible(b.String())
}

// window cuts a line to what a snippet shows of it, and tells which column of that the wanted one is.
func window(line string, column int) (shown string, at int) {
	if len(line) <= snippetWidth {
		return line, column
	}
	runes := []rune(line)
	from := 0
	if column > snippetWidth*3/4 {
		from = min(column-snippetWidth/2, len(runes))
	}
	to := min(from+snippetWidth, len(runes))
	shown, at = string(runes[from:to]), column-from
	if to < len(runes) {
		shown += "…"
	}
	if from > 0 {
		shown, at = "…"+shown, at+1
	}
	return shown, at
}

// prefix is the first n characters of a text.
func prefix(text string, n int) string {
	for i := range text {
		if n == 0 {
			return text[:i]
		}
		n--
	}
	return text
}

// visible makes a text safe to print: what a file holds must not drive the terminal of who reads about it.
func visible(text string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && c != '\t' && unicode.IsControl(c) {
			return utf8.RuneError
		}
		return c
	}, strings.ToValidUTF8(text, string(utf8.RuneError)))
}

// offset is the byte at which a place starts, or -1 if there is none.
func (s *source) offset(at span) int {
	if at.line < 1 || at.line > len(s.lines) {
		return -1
	}
	o, line := s.starts[at.line-1], s.lines[at.line-1]
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
	i, exact := slices.BinarySearch(s.starts, offset)
	if !exact {
		i--
	}
	return span{line: i + 1, column: utf8.RuneCountInString(s.text[s.starts[i]:offset]) + 1, width: 1}
}
