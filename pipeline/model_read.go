package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// The rules behind values that a model does not say.
const (
	noteOrphans   = "a context without a name is named after its place among those"
	noteBatchName = "a batch of one context is named after it"
	noteEchoName  = "an echo is named after its message"
)

// modelName is what diagnostics call a posted model.
const modelName = "model"

// FromModel turns a posted model, JSON or YAML, into a plan. Like Compile, it gives all problems at once.
func FromModel(data []byte) (*Plan, Diagnostics) {
	r := newReport(newSource(modelName, ""))
	root := parseModel(r, data)
	if root == nil {
		return nil, r.sorted()
	}
	d := &modelReader{
		decoder: &decoder{report: r, lang: language{}},
		origins: origins{src: r.src, kind: originModel, at: map[string]Origin{}},
		uuids:   map[string]*node{}, names: map[string]*node{},
	}
	plan := d.plan(root)
	if r.hasErrors() {
		return nil, r.sorted()
	}
	plan.Origins = d.origins.at
	return plan, r.sorted()
}

// modelReader reads a model straight into a plan: it has no defaults to merge.
type modelReader struct {
	*decoder
	origins origins
	uuids   map[string]*node
	names   map[string]*node
	orphans int
}

// fields gives the entries of a mapping by name, and refuses those it must not have.
func (d *modelReader) fields(n *node, path string, known ...string) map[string]*node {
	out := map[string]*node{}
	if n.kind != mappingKind {
		if n.kind != brokenKind {
			d.add(badModel, n.at, "%s must be a mapping, and is %s", path, n.kind)
		}
		return out
	}
	for _, p := range n.pairs {
		if slices.Contains(known, p.key.text) {
			out[p.key.text] = p.value
			continue
		}
		x := d.add(badModel, p.key.at, "%s has an unknown field %q", path, shorten(p.key.text, 60))
		x.Suggestion = "it can have: " + strings.Join(known, ", ")
	}
	return out
}

// items gives the entries of a list; nothing and null are an empty one.
func (d *modelReader) items(n *node, path string) []*node {
	if n == nil || n.kind == nullKind || n.kind == brokenKind {
		return nil
	}
	if n.kind != listKind {
		d.add(badModel, n.at, "%s must be a list, and is %s", path, n.kind)
		return nil
	}
	return n.items
}

func (d *modelReader) plan(root *node) *Plan {
	f := d.fields(root, "the model", "uuid", "batches")
	p := &Plan{Version: PlanVersion, Stages: []Stage{}}
	d.origins.fallback("/version", originDefault, noteVersion)
	p.UUID = d.uuid(f["uuid"], "uuid", "/uuid")
	if f["batches"] == nil && root.kind == mappingKind {
		d.add(badModel, root.at, `the model has no "batches"`).Suggestion = `an empty pipeline is {"batches": []}`
	}
	for i, b := range d.items(f["batches"], "batches") {
		p.Stages = append(p.Stages, d.stage(b, p, fmt.Sprintf("batches[%d]", i), pointer("/stages", i)))
	}
	d.nameStages(p)
	return p
}

func (d *modelReader) stage(n *node, p *Plan, path, ptr string) Stage {
	f := d.fields(n, path, "mode", "contexts")
	s := Stage{Mode: Linear, Tasks: []Task{}}
	if m := f["mode"]; m != nil && m.kind != nullKind && m.kind != brokenKind {
		mode := Mode(strings.ToLower(m.text))
		if m.kind != stringKind || !slices.Contains(modes(), mode) {
			d.add(unknownMode, m.at, "%s.mode is %q", path, shorten(m.text, 60)).Suggestion = "the modes are Linear, Parallel and Fanout"
		}
		s.Mode = mode
		d.origins.say(ptr+"/mode", m)
	} else {
		d.origins.fallback(ptr+"/mode", originDefault, "a batch is Linear unless it says otherwise")
	}
	for i, c := range d.items(f["contexts"], path+".contexts") {
		if d.tasks++; d.tasks > maxTasks {
			d.add(tooMuch, c.at, "the model has more than %d contexts", maxTasks)
			break
		}
		s.Tasks = append(s.Tasks, d.task(c, p, fmt.Sprintf("%s.contexts[%d]", path, i), pointer(ptr+"/tasks", i)))
	}
	return s
}

// nameStages names the stages when all tasks have theirs.
func (d *modelReader) nameStages(p *Plan) {
	taken := map[string]bool{}
	for i := range p.Stages {
		s, ptr := &p.Stages[i], pointer("/stages", i)+"/name"
		if len(s.Tasks) == 1 {
			s.Name = s.Tasks[0].Name
			d.origins.fallback(ptr, originConvention, noteBatchName)
		}
		taken[s.Name] = true
	}
	for i := range p.Stages {
		if s := &p.Stages[i]; len(s.Tasks) != 1 {
			s.Name = freeName(fmt.Sprintf("%s %d", s.Mode, i+1), taken)
			d.origins.fallback(pointer("/stages", i)+"/name", originConvention, noteStageName)
		}
	}
}

func (d *modelReader) task(n *node, p *Plan, path, ptr string) Task {
	f := d.fields(n, path, "uuid", "properties", "environment", "steps")
	t := Task{TimeoutMS: defaultTaskTimeout.Milliseconds(), OnLost: OnLostRetry, Steps: []Step{}}
	d.origins.fallback(ptr+"/timeout_ms", originDefault, noteTaskTimeout)
	d.origins.fallback(ptr+"/on_lost", originDefault, noteOnLost)
	t.UUID = d.uuid(f["uuid"], path+".uuid", ptr+"/uuid")
	t.Name = d.taskName(f["properties"], path, ptr)
	if env := f["environment"]; env != nil && env.kind != nullKind {
		for _, e := range d.env(env) {
			if t.Env == nil {
				t.Env = map[string]string{}
			}
			t.Env[e.name] = e.value.v
			d.origins.say(ptr+"/env/"+escape(e.name), e.value.at)
		}
	}
	items := d.items(f["steps"], path+".steps")
	if len(items) == 0 && n.kind == mappingKind {
		d.add(nothingToRun, n.at, "%s has no steps", path)
	}
	for i, s := range items {
		if d.decoder.steps++; d.decoder.steps > maxSteps {
			d.add(tooMuch, s.at, "the model has more than %d steps", maxSteps)
			break
		}
		t.Steps = append(t.Steps, d.step(s, p, &t, fmt.Sprintf("%s.steps[%d]", path, i), pointer(ptr+"/steps", i)))
	}
	return t
}

// taskName reads the one property that means something, the name.
func (d *modelReader) taskName(n *node, path, ptr string) string {
	if n != nil && n.kind != nullKind {
		if n.kind != mappingKind {
			d.add(badModel, n.at, "%s.properties must be a mapping, and is %s", path, n.kind)
			return ""
		}
		for _, p := range n.pairs {
			if p.key.text != "name" {
				d.add(lostProperty, p.key.at, "%s.properties.%s is not kept: only the name means something", path, shorten(p.key.text, 60))
			}
		}
		if p, ok := n.find("name"); ok {
			v := d.name(p.value, path+".properties.name")
			if v.at != nil {
				d.unique(d.names, "context", v)
				d.origins.say(ptr+"/name", v.at)
			}
			return v.v
		}
	}
	d.orphans++
	d.origins.fallback(ptr+"/name", originConvention, noteOrphans)
	return fmt.Sprintf("steps %d", d.orphans)
}

// uuid reads an identity that somebody else chose. It is kept, and no two things share it.
func (d *modelReader) uuid(n *node, path, ptr string) string {
	if n == nil || n.kind == nullKind || n.kind == brokenKind {
		return ""
	}
	id, err := uuid.Parse(n.text)
	if n.kind != stringKind || err != nil || len(n.text) != 36 {
		d.add(badUUID, n.at, "%s is %q, which is not a UUID", path, shorten(n.text, 60))
		return ""
	}
	if first, twice := d.uuids[id.String()]; twice {
		d.add(duplicateUUID, n.at, "%s is %s, which is there already at line %d, column %d", path, id, first.at.line, first.at.column)
	}
	d.uuids[id.String()] = n
	d.origins.say(ptr, n)
	return id.String()
}
