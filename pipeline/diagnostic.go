package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a diagnostic means for the file.
type Severity string

// The severities of a diagnostic.
const (
	SeverityError   Severity = "error"   // there is no plan
	SeverityWarning Severity = "warning" // there is a plan, and it probably does not do what was meant
	SeverityHint    Severity = "hint"    // there is a plan, and something about it is worth knowing
)

// Diagnostic is one problem of a file. Its text is the same at every door: validate, explain, API and run page.
type Diagnostic struct {
	Code       Code     `json:"code"`
	Severity   Severity `json:"severity"`
	Message    string   `json:"message"`
	File       string   `json:"file"`
	Line       int      `json:"line"`       // from 1
	Column     int      `json:"column"`     // from 1, in characters
	EndColumn  int      `json:"end_column"` // the first behind it, on the same line
	Snippet    string   `json:"snippet,omitempty"`
	Suggestion string   `json:"suggestion,omitempty"`
	Used       string   `json:"used,omitempty"` // for a place in a template: where the template is used
}

// String renders the diagnostic as people read it: position and message, the snippet, the suggestion.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s %s: %s\n", d.File, d.Line, d.Column, d.Severity, d.Code, d.Message)
	if d.Snippet != "" {
		b.WriteString(d.Snippet)
		b.WriteByte('\n')
	}
	if d.Suggestion != "" {
		for line := range strings.Lines(d.Suggestion + "\n") {
			b.WriteString("  ")
			b.WriteString(line)
		}
	}
	if d.Used != "" {
		fmt.Fprintf(&b, "  used at %s\n", d.Used)
	}
	return b.String()
}

// Diagnostics are all problems of a file, in the order of their positions.
type Diagnostics []Diagnostic

// HasErrors tells whether the file has no plan.
func (d Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(d, func(d Diagnostic) bool { return d.Severity == SeverityError })
}

// String renders all diagnostics, one after the other.
func (d Diagnostics) String() string {
	var b strings.Builder
	for _, one := range d {
		b.WriteString(one.String())
	}
	return b.String()
}

// maxDiagnostics bounds what one file can be told: a hostile file of a million typos gets a page, not a gigabyte.
const maxDiagnostics = 200

// report collects the problems of one file.
type report struct {
	src     *source
	list    []*Diagnostic
	seen    map[Diagnostic]bool
	dropped int
	mild    int // before it, the list has errors only
}

func newReport(src *source) *report {
	return &report{src: src, seen: map[Diagnostic]bool{}}
}

// add notes one problem; the caller may fill in the suggestion of what it returns.
func (r *report) add(code Code, at span, format string, args ...any) *Diagnostic {
	if at.source(r.src).allows(code, at.line) {
		return &Diagnostic{}
	}
	d := &Diagnostic{
		Code: code, Severity: code.severity(), Message: fmt.Sprintf(format, args...),
		File: at.source(r.src).name, Line: at.line, Column: at.column, EndColumn: at.column + max(1, at.width),
	}
	// An anchor's value is read again at each alias, a template at each use; they have their problems once.
	if r.seen[*d] {
		return &Diagnostic{}
	}
	if len(r.list) >= maxDiagnostics {
		r.dropped++
		if d.Severity != SeverityError || !r.makeRoom() {
			return &Diagnostic{}
		}
	}
	r.seen[*d] = true
	d.Snippet, d.Used = at.source(r.src).snippet(at), at.uses(r.src)
	r.list = append(r.list, d)
	return d
}

// makeRoom gives up a warning or hint for an error, which must be known: there is no plan.
func (r *report) makeRoom() bool {
	for r.mild < len(r.list) && r.list[r.mild].Severity == SeverityError {
		r.mild++
	}
	if r.mild == len(r.list) {
		return false
	}
	r.list = slices.Delete(r.list, r.mild, r.mild+1)
	return true
}

// noted counts what was noted so far.
func (r *report) noted() int { return len(r.list) + r.dropped }

// hasErrors tells whether an error was noted so far.
func (r *report) hasErrors() bool {
	return slices.ContainsFunc(r.list, func(d *Diagnostic) bool { return d.Severity == SeverityError })
}

// sorted gives what was collected, by position, the gravest first where two share one.
func (r *report) sorted() Diagnostics {
	if r.dropped > 0 {
		n := r.dropped
		last := &Diagnostic{
			Code: tooManyProblems, Severity: tooManyProblems.severity(), File: r.src.name, Line: len(r.src.lines), Column: 1, EndColumn: 2,
			Message: fmt.Sprintf("%d more problems are not shown", n),
		}
		r.list = append(r.list, last)
		r.dropped = 0
	}
	out := make(Diagnostics, 0, len(r.list))
	for _, d := range r.list {
		d.Message, d.Suggestion = visible(d.Message), visible(d.Suggestion)
		out = append(out, *d)
	}
	rank := []Severity{SeverityError, SeverityWarning, SeverityHint}
	slices.SortStableFunc(out, func(a, b Diagnostic) int {
		return cmp.Or(
			r.compareFiles(a.File, b.File),
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(slices.Index(rank, a.Severity), slices.Index(rank, b.Severity)),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
	return out
}

// compareFiles sorts the Ottofile before the files that it uses.
func (r *report) compareFiles(a, b string) int {
	own := func(name string) int {
		if name == r.src.name {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(own(a), own(b)), cmp.Compare(a, b))
}
