package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// table is text in columns as wide as they must be, colours not counted.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(a *app) error {
	s := a.stdoutStyle()
	widths := make([]int, len(t.head))
	for _, cells := range append([][]string{t.head}, t.rows...) {
		for i, cell := range cells {
			widths[i] = max(widths[i], width(cell))
		}
	}
	var out strings.Builder
	line := func(cells []string, paint func(string) string) {
		var b strings.Builder
		for i, cell := range cells {
			b.WriteString(paint(cell) + strings.Repeat(" ", widths[i]-width(cell)+2))
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	line(t.head, s.dim)
	for _, cells := range t.rows {
		line(cells, func(cell string) string { return cell })
	}
	_, err := fmt.Fprint(a.stdout, out.String())
	return err
}

// width is how many columns of a terminal a text takes.
func width(text string) int { return len([]rune(stripColours(text))) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
