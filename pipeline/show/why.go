package show

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ottoci/otto/pipeline"
)

// Reason is a value of a plan and where it comes from.
type Reason struct {
	Pointer string          `json:"pointer"`
	Value   json.RawMessage `json:"value"`
	Origin  pipeline.Origin `json:"origin"`
}

// Why gives the origin of a value; for a part of the plan, of all values below it. The field is a JSON pointer, or a path
// as people write it: build.timeout, unit.steps.1.sh. Steps then count from 1, as an outline shows them, or have their names.
func Why(p *pipeline.Plan, field string) ([]Reason, error) {
	body, _, err := p.Encode()
	if err != nil {
		return nil, err
	}
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	w := finder{plan: p, doc: doc, pointers: slices.Sorted(maps.Keys(p.Origins))}
	for _, pointers := range w.meant(field) {
		var found []Reason
		for _, ptr := range pointers {
			found = append(found, w.below(ptr)...)
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, fmt.Errorf("the plan has no value at %s", field)
}

// finder looks for values of one plan.
type finder struct {
	plan     *pipeline.Plan
	doc      any
	pointers []string // of all values whose origin is known, sorted
}

// meant lists what a field may mean: the first of these that is there counts.
func (w *finder) meant(field string) [][]string {
	if strings.HasPrefix(field, "/") || field == "" {
		return [][]string{{"/" + strings.Trim(field, "/")}}
	}
	var tasks, bases, stages []string
	for _, at := range tasksOf(w.plan) {
		if rest, ok := below(field, at.task.Name); ok {
			tasks = append(tasks, at.pointer()+inTask(at.task, rest))
		} else if rest, ok := below(field, at.task.Base); ok {
			bases = append(bases, at.pointer()+inTask(at.task, rest))
		}
	}
	for i := range w.plan.Stages {
		if rest, ok := below(field, w.plan.Stages[i].Name); ok {
			stages = append(stages, fmt.Sprintf("/stages/%d", i)+toPointer(rest))
		}
	}
	plain := "/" + strings.Trim(field, "/")
	return [][]string{tasks, bases, stages, {toPointer("." + field)}, {plain}}
}

// below is the rest of a path behind a name, from its dot.
func below(path, name string) (string, bool) {
	rest, ok := strings.CutPrefix(path, name)
	if !ok || name == "" || rest != "" && rest[0] != '.' {
		return "", false
	}
	return rest, true
}

// inTask turns a path within a task into a pointer: .steps.1.sh and .steps.smoke.sh into /steps/0/sh.
func inTask(t *pipeline.Task, rest string) string {
	steps, ok := strings.CutPrefix(rest, ".steps.")
	if !ok {
		if steps, ok = strings.CutPrefix(rest, ".step."); !ok {
			return toPointer(rest)
		}
	}
	for i := range t.Steps {
		for _, name := range []string{strconv.Itoa(i + 1), t.Steps[i].Name} {
			if rest, ok := below(steps, name); ok {
				return fmt.Sprintf("/steps/%d", i) + toPointer(rest)
			}
		}
	}
	return "/steps/" + escape(steps)
}

// toPointer turns .env.A into /env/A. Durations have their unit in the plan, not in Ottofiles.
func toPointer(path string) string {
	if path == "" {
		return ""
	}
	keys := strings.Split(path[1:], ".")
	// The name of a variable or a capability may have dots of its own.
	if len(keys) > 2 && slices.Contains([]string{"env", "requires", "matrix", "outputs"}, keys[0]) {
		keys = []string{keys[0], strings.Join(keys[1:], ".")}
	}
	for i, key := range keys {
		keys[i] = escape(key)
	}
	switch last := &keys[len(keys)-1]; {
	case *last == "timeout" && len(keys) == 1, *last == "delay" && keys[0] == "retries":
		*last += "_ms"
	}
	return "/" + strings.Join(keys, "/")
}

// below gives the values at and below a pointer. A value inside of one whose origin is known as a whole has that origin.
func (w *finder) below(ptr string) []Reason {
	var found []Reason
	from, _ := slices.BinarySearch(w.pointers, ptr)
	for _, at := range w.pointers[from:] {
		if ptr != "/" && !strings.HasPrefix(at, ptr) {
			break
		}
		if at == ptr || ptr == "/" || strings.HasPrefix(at, ptr+"/") {
			if r, err := w.reason(at, at); err == nil {
				found = append(found, r)
			}
		}
	}
	for up := ptr; len(found) == 0 && up != ""; up = up[:strings.LastIndexByte(up, '/')] {
		origin := up
		if strings.HasSuffix(up, "/when") { // what a condition comes to follows from what it says
			origin = up + "/expr"
		}
		if _, ok := w.plan.Origins[origin]; !ok {
			continue
		}
		if r, err := w.reason(ptr, origin); err == nil {
			found = append(found, r)
		}
		break
	}
	return found
}

func (w *finder) reason(ptr, origin string) (Reason, error) {
	value, err := lookUp(w.doc, ptr)
	if err != nil {
		return Reason{}, err
	}
	encoded := valueText(value)
	return Reason{Pointer: ptr, Value: json.RawMessage(encoded), Origin: w.plan.Origins[origin]}, nil
}

var errNoValue = errors.New("there is no such value")

// lookUp follows a JSON pointer.
func lookUp(doc any, pointer string) (any, error) {
	for _, key := range strings.Split(pointer, "/")[1:] {
		switch v := doc.(type) {
		case map[string]any:
			value, ok := v[unescape(key)]
			if !ok {
				return nil, errNoValue
			}
			doc = value
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(v) {
				return nil, errNoValue
			}
			doc = v[i]
		default:
			return nil, errNoValue
		}
	}
	return doc, nil
}

// OriginText says where a value comes from: the place that says it or the rule that gives it, and the template that is in.
func OriginText(o pipeline.Origin) string {
	text := o.Kind + prefixed(": ", o.Note)
	if o.File != "" {
		text = fmt.Sprintf("%s:%d:%d", o.File, o.Line, o.Column) + prefixed(", ", o.Note)
	}
	return clean(text + prefixed(", in template ", o.Template) + prefixed(", used at ", o.Used))
}
