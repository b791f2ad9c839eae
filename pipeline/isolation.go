package pipeline

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// How far a task is kept from the rest of its agent's machine: isolation and limits.

// TaskLimits bound what a task may use of its agent's machine. What is 0 is not bounded.
type TaskLimits struct {
	Memory    int64   `json:"memory,omitempty"` // bytes, of all its processes together
	Processes int64   `json:"processes,omitempty"`
	CPU       float64 `json:"cpu,omitempty"` // cores
	OpenFiles int64   `json:"open_files,omitempty"`
	Disk      int64   `json:"disk,omitempty"`   // bytes
	Output    int64   `json:"output,omitempty"` // bytes
}

// limitDecl is one limit: its name, and its value as the plan has it.
type limitDecl struct {
	name  string
	value val[float64]
}

// untrustedIsolation is the least level of what strangers may start: no secrets are in its reach, nor anything but the internet.
const untrustedIsolation = 3

// isolationText is a level. Levels hold back what those below them do, so one is always the least.
var isolationText = regexp.MustCompile(`^(?:>= ?)?S([0-4])$`)

func isolationType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema {
		return &jsonschema.Schema{Type: "string", Pattern: isolationText.String(), Examples: []any{">=S2"}}
	})()
}

// isolation reads a level.
func (d *decoder) isolation(n *node) val[int] {
	v, ok := d.str(n, "isolation")
	if !ok {
		return val[int]{}
	}
	m := isolationText.FindStringSubmatch(v.v)
	if m == nil {
		x := d.add(badIsolation, n.at, "%q is not a level of isolation", shorten(v.v, 40))
		x.Suggestion = `write one of ">=S1", ">=S2" and ">=S3"`
		if near := isolationText.FindStringSubmatch(strings.ToUpper(strings.TrimLeft(v.v, "<>=~ "))); near != nil {
			x.Suggestion = fmt.Sprintf("did you mean %q?", ">=S"+near[1])
		}
		return val[int]{}
	}
	level, _ := strconv.Atoi(m[1]) // one digit
	return val[int]{level, n}
}

func limitsType() *jsonschema.Schema { return objectSchema(limitsObject()) }

func limitsObject() object[[]limitDecl] {
	limit := func(read func(*decoder, string, *node) (float64, bool)) func(*decoder, *[]limitDecl, *node, *node) {
		return func(d *decoder, all *[]limitDecl, k, v *node) {
			if value, ok := read(d, k.text, v); ok {
				*all = append(*all, limitDecl{k.text, val[float64]{value, v}})
			}
		}
	}
	return object[[]limitDecl]{what: "limits", doc: "What a task may use of its agent's machine.", keys: []key[[]limitDecl]{
		{"memory", "Memory of all its processes together (2GiB). What is over it ends the step: oom.", limitSizeType, limit((*decoder).limitSize)},
		{"processes", "Processes and threads. Beyond it none can be started, and a step that fails says so: pids.", limitCountType, limit((*decoder).limitCount)},
		{"cpu", "Cores (1.5).", limitCPUType, limit((*decoder).limitCPU)},
		{"open_files", "Files that each process may have open.", limitCountType, limit((*decoder).limitCount)},
		{"disk", "Bytes in workspace, home and temporary directory (10GiB). What is over it ends the step: disk.", limitSizeType, limit((*decoder).limitSize)},
		{"output", "Bytes written to the log (100MiB). What is over it ends the step: output.", limitSizeType, limit((*decoder).limitSize)},
	}}
}

func limitSizeType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: sizeText.String()} })()
}

// maxLimitCount bounds a number of processes or files; no kernel gives more.
const maxLimitCount = 1 << 22

func limitCountType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Type: "integer", Minimum: "1"} })()
}

func limitCPUType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Type: "number", ExclusiveMinimum: "0"} })()
}

func (d *decoder) limitSize(name string, n *node) (float64, bool) {
	if n.kind == numberKind {
		d.add(badSize, n.at, "the size %s has no unit", shorten(n.text, 40)).Suggestion = fmt.Sprintf("write %[1]sGiB or %[1]sMiB", shorten(n.text, 20))
		return 0, false
	}
	v, ok := d.str(n, "the limit "+name)
	if !ok {
		return 0, false
	}
	size, ok := d.size(name, strings.TrimSpace(v.v), n)
	if !ok {
		return 0, false
	}
	return float64(size.(int64)), true // at most 2^53, so exact
}

func (d *decoder) limitCount(name string, n *node) (float64, bool) {
	if !d.want(n, numberKind, "the limit "+name) {
		return 0, false
	}
	v, err := strconv.Atoi(n.text)
	if err != nil || v < 1 || v > maxLimitCount {
		d.add(badLimit, n.at, "the limit %s must be a whole number from 1 to %d", name, maxLimitCount)
		return 0, false
	}
	return float64(v), true
}

func (d *decoder) limitCPU(name string, n *node) (float64, bool) {
	if !d.want(n, numberKind, "the limit "+name) {
		return 0, false
	}
	v, err := strconv.ParseFloat(n.text, 64)
	if err != nil || v < 0.01 || v > 4096 {
		d.add(badLimit, n.at, "the limit %s must be a number of cores from 0.01 to 4096", name)
		return 0, false
	}
	return v, true
}

// isolate puts in how far the task is isolated and limited, and that its agent must be able to.
func (l *lowering) isolate(t *taskDecl, out *Task, ptr string) {
	out.Isolation = t.isolation.v
	l.origins.sayIf(ptr+"/isolation", t.isolation.at, t.isolation.v > 0)
	if pr := l.inputs.Event.PullRequest; pr != nil && pr.Fork && out.Isolation < untrustedIsolation {
		out.Isolation = untrustedIsolation
		l.origins.fallback(ptr+"/isolation", originConvention, noteUntrusted)
	}
	if _, said := out.Requires["isolation"]; said {
		l.add(badIsolation, l.requirement(t, "isolation").at, "an agent that offers isolation runs a task with it only if the task asks for it itself").
			Suggestion = `write  isolation: ">=S2"  instead`
	}
	contained := out.Image != "" && out.Fallback == "" // what may run on a host needs the level there
	if out.Isolation == 4 && !contained && t.isolation.at != nil {
		l.add(badIsolation, t.isolation.at.at, "S4 is a container, and the task has no image").Suggestion = "give it an image, or ask for S3"
	}
	if out.Isolation > 0 && !contained { // a container is S4
		if out.Requires == nil {
			out.Requires = map[string]any{}
		}
		out.Requires["isolation"] = int64(out.Isolation)
		l.origins.fallback(ptr+"/requires/isolation", originConvention, noteIsolation)
	}
	for _, x := range t.limits {
		if out.Limits == nil {
			out.Limits = &TaskLimits{}
		}
		out.Limits.set(x.name, x.value.v)
		l.origins.say(ptr+"/limits/"+x.name, x.value.at)
	}
}

// requirement is where a task says what it requires.
func (l *lowering) requirement(t *taskDecl, name string) *node {
	for _, c := range t.requires {
		if c.name == name {
			return c.value.at
		}
	}
	return &node{}
}

func (m *TaskLimits) set(name string, value float64) {
	switch name {
	case "memory":
		m.Memory = int64(value)
	case "processes":
		m.Processes = int64(value)
	case "cpu":
		m.CPU = value
	case "open_files":
		m.OpenFiles = int64(value)
	case "disk":
		m.Disk = int64(value)
	case "output":
		m.Output = int64(value)
	}
}
