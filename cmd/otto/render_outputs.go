package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// outputWidth is how much of an output is shown; --json has all of it.
const outputWidth = 200

// outputs lists what tasks have said to later ones.
func (s *summary) outputs() {
	for _, stage := range s.run.Stages {
		for _, t := range stage.Tasks {
			switch {
			case t.OutputsElsewhere:
				fmt.Fprintf(s, "\n  outputs of %s\n    %s\n", t.Name, s.style.dim(fmt.Sprintf("too large to show here: GET /v1/tasks/%d", t.Task)))
			case len(t.Outputs) > 0:
				fmt.Fprintf(s, "\n  outputs of %s\n", t.Name)
				for _, name := range sortedKeys(t.Outputs) {
					fmt.Fprintf(s, "    %s = %s\n", name, oneLine(t.Outputs[name]))
				}
			}
		}
	}
}

// oneLine writes a value as JSON, without anything that a terminal would act upon, and cut where it is long.
func oneLine(value any) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error()
	}
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimSuffix(out.String(), "\n"))
	if runes := []rune(text); len(runes) > outputWidth {
		return string(runes[:outputWidth]) + "…"
	}
	return text
}
