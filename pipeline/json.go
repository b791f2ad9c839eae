package pipeline

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// maxJSONNodes bounds the values of a posted model: 20,000 steps have about 120,000.
const maxJSONNodes = 200_000

// parseModel reads JSON as JSON, and anything else as YAML. The YAML library would read JSON, too, but slower, and
// not its escaped surrogates.
func parseModel(r *report, data []byte) *node {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || len(data) > maxFileBytes || !utf8.Valid(data) || !json.Valid(data) {
		return parse(r, data)
	}
	r.src = newSource(r.src.name, string(data))
	j := jsonReader{report: r, decoder: json.NewDecoder(bytes.NewReader(data)), line: 1}
	j.decoder.UseNumber()
	root := j.value(0)
	if j.stopped {
		return nil
	}
	return root
}

// jsonReader builds nodes from JSON, with positions.
type jsonReader struct {
	*report
	decoder *json.Decoder
	nodes   int
	stopped bool

	// The place of the last token: counting on from it keeps the whole linear.
	offset, line, column int
}

// next gives the next token and where it starts.
func (j *jsonReader) next() (json.Token, span) {
	t, err := j.decoder.Token()
	if err != nil {
		j.stopped = true // cannot be: the text is valid JSON
		return nil, span{line: 1, column: 1}
	}
	text, end := j.src.text, int(j.decoder.InputOffset())
	start := j.offset + len(text[j.offset:end]) - len(strings.TrimLeft(text[j.offset:end], " \t\r\n,:"))
	j.advance(start)
	at := span{line: j.line, column: j.column + 1, width: firstLineWidth(text[start:end])}
	j.advance(end)
	return t, at
}

// advance moves the place to a byte.
func (j *jsonReader) advance(to int) {
	passed := j.src.text[j.offset:to]
	if n := strings.Count(passed, "\n"); n > 0 {
		j.line += n
		j.column = 0
		passed = passed[strings.LastIndexByte(passed, '\n')+1:]
	}
	j.column += utf8.RuneCountInString(passed)
	j.offset = to
}

// value reads one value with all below it.
func (j *jsonReader) value(depth int) *node {
	t, at := j.next()
	n := &node{at: at, size: 1}
	j.nodes++
	switch {
	case j.stopped:
	case depth > maxDepth:
		j.stop(nestedTooDeep, at, "values are nested more than %d deep", maxDepth)
	case j.nodes > maxJSONNodes:
		j.stop(tooMuch, at, "the model has more than %d values", maxJSONNodes)
	}
	if j.stopped {
		return n
	}
	switch t := t.(type) {
	case json.Delim:
		j.container(n, t, depth)
	case string:
		n.kind, n.style, n.text = stringKind, quoted, t
		j.checkText(n)
	case json.Number:
		n.kind, n.text = numberKind, t.String()
	case bool:
		n.kind, n.text = boolKind, j.src.text[j.offset-at.width:j.offset]
	default:
		n.kind = nullKind
	}
	return n
}

func (j *jsonReader) container(n *node, open json.Delim, depth int) {
	n.kind = listKind
	if open == '{' {
		n.kind = mappingKind
	}
	seen := map[string]bool{}
	for !j.stopped && j.decoder.More() {
		if open == '[' {
			n.items = append(n.items, j.value(depth+1))
			continue
		}
		k := j.value(depth + 1)
		v := j.value(depth + 1)
		if seen[k.text] {
			j.add(duplicateKey, k.at, "the key %q is written twice", shorten(k.text, 60))
			continue
		}
		seen[k.text] = true
		n.pairs = append(n.pairs, pair{k, v})
	}
	if !j.stopped {
		j.next()
	}
}

func (j *jsonReader) stop(code Code, at span, format string, args ...any) {
	j.add(code, at, format, args...)
	j.stopped = true
}

// checkText refuses what escapes can put into a text and neither a process nor Postgres takes.
func (r *report) checkText(n *node) {
	if strings.ContainsRune(n.text, 0) || !utf8.ValidString(n.text) {
		r.add(controlChar, n.at, "the text contains the control character U+0000, or half a character")
		n.kind = brokenKind
	}
}
