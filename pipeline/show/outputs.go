package show

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// output is a value that a task gives to later ones, by the name that expressions use for the task.
type output struct{ task, key string }

// outputMention finds outputs.build.version, outputs.?build.?version and outputs["build"]["version"].
var outputMention = regexp.MustCompile(`\boutputs(?:\.\??([A-Za-z_]\w*)|\[\??"([^"]*)"\])(?:\.\??([A-Za-z_]\w*)|\[\??"([^"]*)"\])`)

// readersOf says which fields read which outputs.
func readersOf(p *pipeline.Plan) map[output][]string {
	readers := map[output][]string{}
	known := map[[3]string]bool{}
	note := func(expr, reader string) {
		for _, m := range outputMention.FindAllStringSubmatch(expr, -1) {
			o := output{m[1] + m[2], m[3] + m[4]}
			if key := [3]string{o.task, o.key, reader}; !known[key] {
				known[key] = true
				readers[o] = append(readers[o], reader)
			}
		}
	}
	for i := range p.Stages {
		if when := p.Stages[i].When; when != nil {
			note(when.Expr, p.Stages[i].Name+".when")
		}
	}
	for _, at := range tasksOf(p) {
		if when := at.task.When; when != nil {
			note(when.Expr, at.task.Name+".when")
		}
		for i := range at.task.Steps {
			if when := at.task.Steps[i].When; when != nil {
				note(when.Expr, fmt.Sprintf("%s.steps.%d.when", at.task.Name, i+1))
			}
		}
		for _, l := range at.task.Later {
			note(l.Expr, at.task.Name+fieldPath(l.Field))
		}
	}
	return readers
}

// someReaders is how many readers of an output are named.
const someReaders = 5

func readersText(readers []string) string {
	if n := len(readers) - someReaders; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(readers[:someReaders], ", "), n)
	}
	return strings.Join(readers, ", ")
}

// fieldPath writes a JSON pointer within a task as people do, steps from 1: .steps.2.env.VERSION.
func fieldPath(field string) string {
	keys := strings.Split(strings.TrimPrefix(field, "/"), "/")
	for i, key := range keys {
		keys[i] = unescape(key)
		var n int
		if i > 0 && keys[i-1] == "steps" {
			if _, err := fmt.Sscanf(key, "%d", &n); err == nil {
				keys[i] = fmt.Sprint(n + 1)
			}
		}
	}
	return "." + strings.Join(keys, ".")
}

// pointer is the place of a task in a plan's JSON.
func pointer(stage, task int) string { return fmt.Sprintf("/stages/%d/tasks/%d", stage, task) }
