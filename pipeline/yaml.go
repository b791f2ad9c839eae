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
	if !checkDocuments(r, tokens) || !checkTokens(r, tokens) {
		return nil
	}
	file, err := parseTokens(tokens)
	if err != nil {
		syntaxError(r, err)
		return nil
	}
	root := body(r, file)
	if root == nil {
		return nil
	}
	b := builder{report: r, anchors: map[string]*node{}}
	return b.node(root)
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
	at := span{line: 1, column: 1, width: 1}
	var message string
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		// Not Error(): it prints the file around the token, and is quadratic in the tokens of a line.
		message = syntax.Message
		if syntax.Token != nil {
			at = tokenSpan(syntax.Token)
		}
	} else {
		message = err.Error()
	}
	if tab, ok := indentTab(r.src, at); ok {
		r.add(tabIndent, tab, "a tab is used for indentation, which YAML does not allow").
			Suggestion = "indent with two spaces"
		return
	}
	d := r.add(badYAML, at, "this is not YAML: %s", strings.ReplaceAll(message, "\t", `\t`))
	switch {
	case strings.Contains(r.src.line(at.line), "${{"):
		d.Suggestion = `quote the whole value, because of the ": " or the quotes in its expression:  '${{ … }}'`
	case strings.Contains(message, "mapping value is not allowed"), strings.Contains(message, "could not find end character"):
		d.Suggestion = `quote text that contains ": " or starts with a quote, or write it below "|"`
	case strings.Contains(message, "not allowed in this context"), strings.Contains(message, "non-map value"):
		d.Suggestion = "look at the indentation: entries of one mapping or list start in the same column"
	}
}

// indentTab finds a tab in the indentation of the line at which the parser stumbled, or behind its dashes.
func indentTab(s *source, at span) (span, bool) {
	text := s.line(at.line)
	indent := text[:len(text)-len(strings.TrimLeft(text, " -\t"))]
	if i := strings.IndexByte(indent, '\t'); i >= 0 {
		return span{line: at.line, column: i + 1, width: 1}, true
	}
	return span{}, false
}

// checkDocuments refuses all but one document. It looks at tokens, because the library's tree leaves out documents
// that follow an empty one.
func checkDocuments(r *report, tokens token.Tokens) bool {
	begun := false
	for _, t := range tokens {
		switch t.Type {
		case token.CommentType:
			continue
		case token.DirectiveType:
			r.add(foreignYAML, tokenSpan(t), "directives (%%) are not used in an Ottofile")
			return false
		case token.DocumentHeaderType:
			if begun {
				r.add(manyDocuments, tokenSpan(t), `the file holds more than one document ("---")`).
					Suggestion = "put each Ottofile into a file of its own"
				return false
			}
		}
		begun = true
	}
	return true
}

// body gives the value of the file's document.
func body(r *report, file *ast.File) ast.Node {
	for _, doc := range file.Docs {
		// Of an empty document the library makes nothing, or a null that nobody wrote.
		if doc.Body != nil && (doc.Body.Type() != ast.NullType || doc.Body.GetToken().Type != token.ImplicitNullType) {
			return doc.Body
		}
	}
	r.add(emptyFile, span{line: 1, column: 1}, "the file is empty").Suggestion = smallestOttofile
	return nil
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
