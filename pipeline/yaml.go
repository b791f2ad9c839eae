package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of aliases: a file of one kilobyte can otherwise stand for gigabytes.
const (
	maxAliases       = 100
	maxAliasedNodes  = 10_000
	maxAliasedBytes  = 256 << 10
	noDocument       = "the file is empty"
	smallestOttofile = "the smallest Ottofile is:  steps: [{sh: make test}]"
)

// parse reads the file into nodes. It gives nil after an error that hides the rest of the file; else what is wrong is
// in the report, and the nodes are whole.
func parse(r *report, data []byte) *node {
	text, ok := gate(r, data)
	if !ok {
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !checkTokens(r, tokens) {
		return nil
	}
	file, err := parseTokens(tokens)
	if err != nil {
		syntaxError(r, err)
		return nil
	}
	body := onlyDocument(r, file)
	if body == nil {
		return nil
	}
	b := builder{report: r, anchors: map[string]*node{}}
	return b.node(body)
}

// parseTokens turns a panic of the library into an error: a file must never end the process that reads it.
func parseTokens(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntaxError notes why the file is not YAML, and says what people usually mean by it.
func syntaxError(r *report, err error) {
	at, message := span{line: 1, column: 1, width: 1}, ""
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		// Not Error(): it prints the file around the token, and is quadratic in the tokens of a line.
		message = syntax.Message
		if syntax.Token != nil {
			at = tokenSpan(syntax.Token)
		}
	} else {
		message = err.Error()
	}
	if tab, ok := indentTab(r.src, at.line); ok {
		r.add(tabIndent, tab, "a tab is used for indentation, which YAML does not allow").
			Suggestion = "indent with two spaces"
		return
	}
	d := r.add(badYAML, at, "this is not YAML: %s", strings.ReplaceAll(message, "\t", `\t`))
	switch {
	case strings.Contains(message, "mapping value is not allowed"), strings.Contains(message, "could not find end character"):
		d.Suggestion = `quote text that contains ": " or starts with a quote, or write it below "|"`
	case strings.Contains(message, "not allowed in this context"), strings.Contains(message, "non-map value"):
		d.Suggestion = "look at the indentation: entries of one mapping or list start in the same column"
	}
}

// indentTab finds a tab in the indentation of a line, or of one of the two above: the parser often stumbles later.
func indentTab(s *source, line int) (span, bool) {
	for n := min(line, len(s.lines)); n >= max(1, line-2); n-- {
		text := s.lines[n-1]
		indent := text[:len(text)-len(strings.TrimLeft(text, " \t"))]
		if i := strings.IndexByte(indent, '\t'); i >= 0 {
			return span{line: n, column: i + 1, width: 1}, true
		}
	}
	return span{}, false
}

// onlyDocument gives the body of the file's single document. The library decodes the first and forgets the others.
func onlyDocument(r *report, file *ast.File) ast.Node {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if d, ok := doc.Body.(*ast.DirectiveNode); ok {
			r.add(foreignYAML, tokenSpan(d.GetToken()), "directives (%%) are not used in an Ottofile")
			return nil
		}
		if body != nil {
			r.add(manyDocuments, tokenSpan(firstToken(doc)), `the file holds more than one document ("---")`).
				Suggestion = "put each Ottofile into a file of its own"
			return nil
		}
		body = doc.Body
	}
	if body == nil || body.Type() == ast.NullType && len(strings.TrimSpace(body.GetToken().Origin)) == 0 {
		r.add(emptyFile, span{line: 1, column: 1}, noDocument).Suggestion = smallestOttofile
		return nil
	}
	return body
}

func firstToken(doc *ast.DocumentNode) *token.Token {
	if doc.Start != nil {
		return doc.Start
	}
	return doc.Body.GetToken()
}

// tokenSpan is where a token stands in the file.
func tokenSpan(t *token.Token) span {
	if t == nil || t.Position == nil {
		return span{line: 1, column: 1, width: 1}
	}
	width := utf8.RuneCountInString(strings.TrimSpace(t.Origin))
	if first, _, many := strings.Cut(strings.TrimSpace(t.Origin), "\n"); many {
		width = utf8.RuneCountInString(first)
	}
	return span{line: max(1, t.Position.Line), column: max(1, t.Position.Column), width: max(1, width)}
}
