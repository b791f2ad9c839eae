// Package pages has a page for each code that a diagnostic can have: what it means, an example, and how to fix it.
package pages

import "embed"

//go:embed OTTO*.md
var files embed.FS

// Of gives the page of a code as Markdown.
func Of(code string) (page string, ok bool) {
	body, err := files.ReadFile(code + ".md")
	return string(body), err == nil
}
