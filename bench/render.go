package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	mode := "full"
	if r.Quick {
		mode = "quick"
	}
	fmt.Fprintf(&b, "otto bench, %s, seed %d: %s, %d cores, %s, Postgres %s, load %s, took %.0f s\n",
		mode, r.Seed, r.Machine.OS, r.Machine.Cores, r.Machine.Go, r.Machine.Postgres, r.Machine.Load, r.Seconds)
	for _, part := range sections() {
		r.writeSection(&b, part)
	}
	r.writeStatements(&b)
	r.writeVerdicts(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) writeSection(b *strings.Builder, part section) {
	var rows [][]string
	for _, f := range r.Figures {
		if f.Section != part.name {
			continue
		}
		row := []string{f.Name, strings.TrimSpace(number(f.Value) + " " + f.Unit), f.spread(), "", ""}
		if f.Ceiling != 0 {
			row[3], row[4] = "ceiling "+number(f.Ceiling), "ratio "+number(f.Ratio)
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		fmt.Fprintf(b, "\n%s: %s (took %.0f s)\n", part.name, part.title, r.took(part.name))
		writeTable(b, rows)
	}
}

// spread says how far the samples lie apart: rounds by their extremes, many samples by their slow end.
func (f *Figure) spread() string {
	switch {
	case f.N == 1:
		return ""
	case f.N < fewest:
		return fmt.Sprintf("%s – %s (%d)", number(f.Min), number(f.Max), f.N)
	}
	return fmt.Sprintf("p99 %s, max %s (%d)", number(f.P99), number(f.Max), f.N)
}

// queryWidth is how much of a statement a line shows.
const queryWidth = 110

func (r *Report) writeStatements(b *strings.Builder) {
	if len(r.Statements) == 0 {
		return
	}
	fmt.Fprintf(b, "\nwhere a task's time in Postgres goes (* sent by Otto, the others inside of functions; times contain what is called)\n")
	rows := [][]string{{"ms/task", "plan ms", "calls/task", "rows/task", "pages/task", ""}}
	for _, s := range r.Statements {
		star := "  "
		if s.Top {
			star = "* "
		}
		rows = append(rows, []string{fmt.Sprintf("%.3f", s.MS), fmt.Sprintf("%.3f", s.Plan), fmt.Sprintf("%.2f", s.Calls), fmt.Sprintf("%.2f", s.Rows), fmt.Sprintf("%.1f", s.Pages), star + clip(s.Query)})
	}
	writeTable(b, rows)
}

// clip puts a statement on one line.
func clip(query string) string {
	line := []rune(strings.Join(strings.Fields(query), " "))
	if len(line) > queryWidth {
		return string(line[:queryWidth-1]) + "…"
	}
	return string(line)
}

func (r *Report) writeVerdicts(b *strings.Builder) {
	rows := [][]string{{"", "measured", "bar", "stretch", "verdict"}}
	for _, v := range r.Verdicts {
		if !v.Measured {
			continue
		}
		sign := "≤ "
		if v.AtLeast {
			sign = "≥ "
		}
		rows = append(rows, []string{v.Name, strings.TrimSpace(number(v.Value) + " " + v.Unit), sign + number(v.Bar), sign + number(v.Stretch), v.Verdict})
	}
	if len(rows) > 1 {
		b.WriteString("\nverdicts\n")
		writeTable(b, rows)
	}
}

// writeTable lines up columns.
func writeTable(b *strings.Builder, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString("  " + cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// number writes three digits that matter, and thousands apart.
func number(v float64) string {
	switch size := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case size >= 100:
		return grouped(int64(math.Round(v)))
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 0.1 || size == 0:
		return strings.TrimSuffix(fmt.Sprintf("%.2f", v), ".00")
	}
	return fmt.Sprintf("%.2g", v)
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	digits := fmt.Sprint(n)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}
