package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	pages "github.com/ottoci/otto/docs/errors"
	"github.com/ottoci/otto/pipeline"
)

// explainCode prints the page of a code: OTTO1012, otto1012 or 1012.
func (v *validation) explainCode(cmd *cobra.Command) error {
	code := strings.ToUpper(strings.TrimSpace(v.explain))
	if !strings.HasPrefix(code, "OTTO") {
		code = "OTTO" + code
	}
	known := pipeline.Codes()
	i := slices.IndexFunc(known, func(c pipeline.CodeInfo) bool { return string(c.Code) == code })
	if i < 0 {
		byCode := func(a, b pipeline.CodeInfo) int { return cmp.Compare(a.Code, b.Code) }
		return withHint(usage(cmd, "there is no code %q", v.explain), "codes are %s to %s; a problem has its code behind its severity",
			slices.MinFunc(known, byCode).Code, slices.MaxFunc(known, byCode).Code)
	}
	page, ok := pages.Of(code)
	if !ok {
		return fmt.Errorf("%s has no page", code)
	}
	if v.format == formatJSON {
		return v.printJSON(map[string]string{
			"code": code, "severity": string(known[i].Severity), "title": known[i].Title, "page": markdown(page),
		})
	}
	_, err := fmt.Fprint(v.stdout, paintPage(v.stdoutStyle(), page))
	return err
}

// markdown is a page without its link to the others, which nothing follows outside of docs.
func markdown(page string) string {
	text, _, _ := strings.Cut(page, "\n[All codes]")
	return text
}

// pageLink is a link to another page.
var pageLink = regexp.MustCompile(`\[([^\]]+)\]\([^)\s]+\)`)

// paintPage writes a page for a terminal: its headings stand out, and its examples are indented.
func paintPage(s style, page string) string {
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(pageLink.ReplaceAllString(markdown(page), "$1")) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
			continue
		case fenced && line != "":
			line = "    " + line
		case !fenced && strings.HasPrefix(line, "#"):
			line = s.bold(strings.TrimLeft(line, "# "))
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
