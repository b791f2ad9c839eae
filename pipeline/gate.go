package pipeline

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

// The bounds of a file. The YAML library is quadratic in nesting and in the keys of one mapping, and takes some
// kilobytes per value; these keep the worst file below a second and 200 MB of heap (BenchmarkHostile and its heap's peak, two
// busy cores; TestHostileCost).
const (
	maxFileBytes   = 1 << 20
	maxDepth       = 64
	maxIndicators  = 160_000 // characters that may start, end or separate values; 10,000 tasks with a requirement and a step need 150,000
	maxMappingKeys = 500
)

// gate refuses what must not reach the YAML library, and gives the text without byte order mark and carriage
// returns. It looks at bytes only: this is the one pass that a hostile file always gets.
func gate(r *report, data []byte) (text string, ok bool) {
	whole := span{line: 1, column: 1}
	if len(data) > maxFileBytes {
		r.add(fileTooLarge, whole, "the file has %d bytes; at most %d are read", len(data), maxFileBytes).
			Suggestion = "move long scripts into files of the repository and call them"
		return "", false
	}
	text = strings.TrimPrefix(string(data), "\uFEFF")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	r.src = newSource(r.src.name, text)
	if !utf8.ValidString(text) {
		r.add(notUTF8, r.src.at(firstInvalid(text)), "the file is not UTF-8 from here on").
			Suggestion = "save it as UTF-8"
		return "", false
	}
	if i := strings.IndexFunc(text, isControl); i >= 0 {
		c, _ := utf8.DecodeRuneInString(text[i:])
		r.add(controlChar, r.src.at(i), "the file contains the control character %U", c)
		return "", false
	}
	if i := nthIndicator(text, maxIndicators); i >= 0 {
		r.add(tooMuch, r.src.at(i), "the file has too many values: more than %d characters that YAML may take as structure", maxIndicators).
			Suggestion = "move long scripts into files of the repository and call them"
		return "", false
	}
	return text, true
}

// firstInvalid is the first byte that is not part of UTF-8.
func firstInvalid(text string) int {
	for i, c := range text {
		if c == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return len(text)
}

// isControl tells what YAML does not allow in a file.
func isControl(c rune) bool {
	return c < ' ' && c != '\t' && c != '\n' || c >= 0x7f && c < 0xa0 && c != 0x85 || c == 0xFEFF
}

// nthIndicator is the byte of the nth character that YAML may take as structure, or -1. It counts those within
// scripts, too, and so bounds the number of tokens from above.
func nthIndicator(text string, nth int) int {
	for i := range len(text) {
		switch text[i] {
		case '[', ']', '{', '}', ',', '&', '*', '!', '"', '\'', '%', '|', '>':
			nth--
		case '#': // a comment, only at the start of a line or behind a blank
			if i == 0 || text[i-1] == ' ' || text[i-1] == '\n' || text[i-1] == '\t' {
				nth--
			}
		case '-', ':', '?':
			if i+1 == len(text) || text[i+1] == ' ' || text[i+1] == '\n' || text[i+1] == '\t' {
				nth--
			}
		}
		if nth < 0 {
			return i
		}
	}
	return -1
}

// checkTokens refuses nesting and mappings that would make the parser slow. The lexer is linear, and knows a
// bracket in a script from one that nests; a byte scan does not.
func checkTokens(r *report, tokens token.Tokens) bool {
	w := tokenWalk{}
	for _, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		at := tokenSpan(t)
		w.token(t, at)
		if len(w.flow)+len(w.block) > maxDepth {
			r.add(nestedTooDeep, at, "values are nested more than %d deep", maxDepth)
			return false
		}
		if w.keys > maxMappingKeys {
			r.add(tooMuch, at, "a mapping has more than %d keys", maxMappingKeys)
			return false
		}
	}
	return true
}

// tokenWalk counts what is open at a token.
type tokenWalk struct {
	flow  []int    // brackets and braces: the entries of each so far, or -1 in a list
	block []column // indentations
	line  int
	keys  int // of the mapping that the last token belongs to
}

// column is an indentation that is open, with the keys seen at it.
type column struct {
	at, keys int
}

func (w *tokenWalk) token(t *token.Token, at span) {
	first := at.line != w.line
	w.line, w.keys = at.line, 0
	switch t.Type {
	case token.SequenceStartType:
		w.flow = append(w.flow, -1)
	case token.MappingStartType:
		w.flow = append(w.flow, 0)
	case token.SequenceEndType, token.MappingEndType:
		w.flow = w.flow[:max(0, len(w.flow)-1)]
	case token.CollectEntryType:
		if n := len(w.flow); n > 0 && w.flow[n-1] >= 0 {
			w.flow[n-1]++
			w.keys = w.flow[n-1]
		}
	}
	if len(w.flow) == 0 {
		w.indent(t, at.column, first)
	}
}

// indent follows the block structure: what starts a line, and each "-", opens or closes indentations.
func (w *tokenWalk) indent(t *token.Token, at int, first bool) {
	for first && len(w.block) > 0 && w.block[len(w.block)-1].at > at {
		w.block = w.block[:len(w.block)-1]
	}
	if !first && t.Type != token.SequenceEntryType {
		return
	}
	if len(w.block) == 0 || w.block[len(w.block)-1].at < at {
		w.block = append(w.block, column{at: at})
	}
	if top := &w.block[len(w.block)-1]; t.Type != token.SequenceEntryType {
		top.keys++
		w.keys = top.keys
	}
}
