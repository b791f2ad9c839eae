package pipeline

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Model is a pipeline in the words of Otto's ancestor: batches of contexts of steps. Those who know it post it as a
// plan, and read their plan back as it.
type Model struct {
	UUID    string  `json:"uuid,omitempty"`
	Batches []Batch `json:"batches"`
}

// Batch is a stage: Linear, Parallel or Fanout.
type Batch struct {
	Mode     string    `json:"mode"`
	Contexts []Context `json:"contexts"`
}

// Context is a task.
type Context struct {
	UUID        string            `json:"uuid,omitempty"`
	Properties  map[string]string `json:"properties"`
	Environment map[string]string `json:"environment"` // null if there is none
	Steps       []ModelStep       `json:"steps"`
}

// ModelStep is a step: a symbol that names what to do, and its parameters.
type ModelStep struct {
	UUID       string     `json:"uuid,omitempty"`
	Context    string     `json:"context,omitempty"` // the UUID of its context, or of the pipeline for orphan steps
	Symbol     string     `json:"symbol"`
	Parameters Parameters `json:"parameters"`
}

// Parameters of a step are a list, or a map if Keyword is not nil.
type Parameters struct {
	Positional []string
	Keyword    map[string]string
}

// MarshalJSON writes the list or the map.
func (p Parameters) MarshalJSON() ([]byte, error) {
	if p.Keyword != nil {
		return json.Marshal(p.Keyword)
	}
	return json.Marshal(append([]string{}, p.Positional...))
}

// UnmarshalJSON reads a list or a map.
func (p *Parameters) UnmarshalJSON(data []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		return json.Unmarshal(data, &p.Keyword)
	}
	return json.Unmarshal(data, &p.Positional)
}

// modelSymbol is a step that a model may use: its keywords, in order of their positions, and the script it becomes.
type modelSymbol struct {
	name     string
	keywords []string // spellings of its one parameter
	script   func(parameter string) string
	read     func(script string) (parameter string, ok bool)
}

func modelSymbols() []modelSymbol {
	return []modelSymbol{
		{"sh", []string{"script", "command"},
			func(p string) string { return p },
			func(s string) (string, bool) { return s, true }},
		{"echo", []string{"message"},
			func(p string) string { return echoPrefix + shellQuote(p) },
			func(s string) (string, bool) { return shellUnquote(strings.TrimPrefix(s, echoPrefix)) }},
	}
}

// echoPrefix prints its argument as it is: the shell's own echo takes options and, here and there, escapes.
const echoPrefix = `printf '%s\n' `

// shellQuote makes a text one word of a shell, whatever is in it.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func shellUnquote(s string) (string, bool) {
	if len(s) < 2 || s[0] != '\'' || s[len(s)-1] != '\'' {
		return "", false
	}
	return strings.ReplaceAll(s[1:len(s)-1], `'\''`, "'"), true
}

// positional stands in a note where a keyword parameter has its keyword.
const positional = "positional"

// modelNote is what the plan keeps of how a step was posted, so that it reads back the same; it is the note of the
// origin of the step's script.
type modelNote struct {
	symbol, parameter string
	orphan            bool // the step's context is the pipeline
}

func (n modelNote) String() string {
	owner := "context"
	if n.orphan {
		owner = "pipeline"
	}
	return fmt.Sprintf("step %s, parameter %s, of the %s", n.symbol, n.parameter, owner)
}

func parseModelNote(note string) modelNote {
	n, owner := modelNote{symbol: "sh", parameter: "script"}, ""
	if _, err := fmt.Sscanf(strings.ReplaceAll(note, ",", " "), "step %s parameter %s of the %s", &n.symbol, &n.parameter, &owner); err != nil {
		return modelNote{symbol: "sh", parameter: "script"}
	}
	n.orphan = owner == "pipeline"
	return n
}

// Model gives the plan in the ancestor's words. A plan that was posted as a model reads back as the same batches; of
// others, it holds what the words can say: no timeouts, retries or exit codes.
func (p *Plan) Model() Model {
	m := Model{UUID: p.UUID, Batches: make([]Batch, 0, len(p.Stages))}
	for i, s := range p.Stages {
		b := Batch{Mode: modelMode(s.Mode), Contexts: make([]Context, 0, len(s.Tasks))}
		for j, t := range s.Tasks {
			b.Contexts = append(b.Contexts, p.modelContext(t, fmt.Sprintf("/stages/%d/tasks/%d", i, j)))
		}
		m.Batches = append(m.Batches, b)
	}
	return m
}

func (p *Plan) modelContext(t Task, ptr string) Context {
	c := Context{UUID: t.UUID, Properties: map[string]string{}, Environment: maps.Clone(t.Env), Steps: make([]ModelStep, 0, len(t.Steps))}
	// A name that we made up is not the poster's.
	if p.Origins[ptr+"/name"].Note != noteOrphans {
		c.Properties["name"] = t.Name
	}
	for i, s := range t.Steps {
		note := parseModelNote(p.Origins[pointer(ptr+"/steps", i)+"/sh"].Note)
		step := ModelStep{UUID: s.UUID, Context: t.UUID}
		if note.orphan || t.UUID == "" {
			step.Context = p.UUID
		}
		step.Symbol, step.Parameters = note.parameters(s.Sh)
		c.Steps = append(c.Steps, step)
	}
	return c
}

// parameters gives a script as it was posted.
func (n modelNote) parameters(script string) (symbol string, p Parameters) {
	symbols := modelSymbols()
	i := slices.IndexFunc(symbols, func(s modelSymbol) bool { return s.name == n.symbol })
	if i < 0 {
		return "sh", Parameters{Keyword: map[string]string{"script": script}}
	}
	value, ok := symbols[i].read(script)
	switch {
	case !ok:
		return "sh", Parameters{Keyword: map[string]string{"script": script}}
	case n.parameter == positional:
		return n.symbol, Parameters{Positional: []string{value}}
	}
	return n.symbol, Parameters{Keyword: map[string]string{n.parameter: value}}
}

// modelMode is the ancestor's word for a mode.
func modelMode(m Mode) string {
	return strings.ToUpper(string(m[:1])) + string(m[1:])
}
