package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What a task says of where and beside what it runs: image, shell, environment, concurrency and outputs.

// environmentDecl is a place that tasks deploy to.
type environmentDecl struct {
	name        string
	env         []envDecl
	protection  protectionDecl
	concurrency val[int]
	reads       []outputRead // outputs of tasks, in its variables
	at          *node
}

type protectionDecl struct{ branches, tags globs }

func environmentObject() object[environmentDecl] {
	return object[environmentDecl]{what: "an environment", doc: "A place that tasks deploy to, with its protection.", keys: []key[environmentDecl]{
		{"env", "Variables of the steps of its tasks.", envType, func(d *decoder, e *environmentDecl, _, v *node) { e.env = d.env(v) }},
		{"protection", "Who may deploy to it.", protectionType, func(d *decoder, e *environmentDecl, _, v *node) {
			e.protection = decodeObject(d, d.lang.protection, v)
		}},
		{"concurrency", "How many of its tasks run at once. Default: 1.", countType, func(d *decoder, e *environmentDecl, _, v *node) { e.concurrency = d.count(v, "concurrency") }},
	}}
}

func protectionObject() object[protectionDecl] {
	return object[protectionDecl]{what: "a protection", doc: "What a run must be like to deploy.", keys: []key[protectionDecl]{
		{"tags", "Patterns of tags that may deploy.", globsType, func(d *decoder, p *protectionDecl, _, v *node) { p.tags = d.globList(v, "a tag") }},
		{"branches", "Patterns of branches that may deploy.", globsType, func(d *decoder, p *protectionDecl, _, v *node) { p.branches = d.globList(v, "a branch") }},
	}}
}

func (d *decoder) environments(n *node, s *scope) []environmentDecl {
	if !d.want(n, mappingKind, "environments") {
		return nil
	}
	out := make([]environmentDecl, 0, len(n.pairs))
	for _, p := range n.pairs {
		e := environmentDecl{}
		if p.value.kind != nullKind {
			from := len(d.outputsRead)
			body, _ := d.open(p.value, s.with(nameEnvironment, p.key.text))
			e = decodeObject(d, d.lang.environment, body)
			e.reads = slices.Clone(d.outputsRead[from:])
		}
		e.name, e.at = d.name(p.key, "an environment's name").v, p.key
		out = append(out, e)
	}
	return out
}

// omits says why an event may not deploy to the environment, or "". A branch is matched by branches and a tag by tags: whoever may
// push a tag called main has not been given the branch.
func (e *environmentDecl) omits(ev Event) string {
	if len(e.protection.branches)+len(e.protection.tags) == 0 {
		return ""
	}
	var this string
	switch {
	case ev.Kind == EventPullRequest:
		this = "this is a pull request" // its branch is what somebody has called it, who may push to none of ours
	case ev.Tag != "" && !e.protection.tags.match(ev.Tag):
		this = "this is the tag " + ev.Tag
	case ev.Tag == "" && ev.Branch == "":
		this = "the branch is not known"
	case ev.Tag == "" && !e.protection.branches.match(ev.Branch):
		this = "this is " + ev.Branch
	default:
		return ""
	}
	var takes []string
	if len(e.protection.branches) > 0 {
		takes = append(takes, e.protection.branches.words())
	}
	if len(e.protection.tags) > 0 {
		takes = append(takes, "the tags "+e.protection.tags.words())
	}
	return fmt.Sprintf("the environment %s is protected: it takes %s, and %s", e.name, strings.Join(takes, " and "), this)
}

// concurrencyDecl bounds a group of tasks.
type concurrencyDecl struct {
	group      val[string]
	limit      val[int]
	onConflict val[OnConflict]
}

func onConflicts() []OnConflict { return []OnConflict{ConflictWait, ConflictAbortOlder, ConflictSkip} }

func concurrencyObject() object[concurrencyDecl] {
	return object[concurrencyDecl]{what: "concurrency", doc: "A group of tasks of which only some run at once, over all runs of the project.", keys: []key[concurrencyDecl]{
		{"group", "The name of the group.", nameType, func(d *decoder, c *concurrencyDecl, _, v *node) { c.group = d.name(v, "the group") }},
		{"limit", "How many run at once. Default: 1.", countType, func(d *decoder, c *concurrencyDecl, _, v *node) { c.limit = d.count(v, "the limit") }},
		{"on_conflict", "What a task does when the group is full: wait (the default), abort_older, or skip.", onConflictType,
			func(d *decoder, c *concurrencyDecl, _, v *node) {
				text := d.oneOf(v, "on_conflict", badConcurrency, words(onConflicts()))
				c.onConflict = val[OnConflict]{OnConflict(text.v), text.at}
			}},
	}}
}

// concurrency reads the name of a group, or a mapping.
func (d *decoder) concurrency(n *node) *concurrencyDecl {
	if n.kind != mappingKind {
		return &concurrencyDecl{group: d.name(n, "the group")}
	}
	c := decodeObject(d, d.lang.concurrency, n)
	if _, said := n.find("group"); !said {
		d.add(missingKey, n.at, "concurrency needs a group").Suggestion = "add group: NAME"
	}
	return &c
}

// maxConcurrency bounds a limit: counting a group costs as much as it holds.
const maxConcurrency = 1000

func (d *decoder) count(n *node, what string) val[int] {
	if !d.want(n, numberKind, what) {
		return val[int]{}
	}
	v, err := strconv.Atoi(n.text)
	if err != nil || v < 1 || v > maxConcurrency {
		d.add(badConcurrency, n.at, "%s must be a whole number from 1 to %d", what, maxConcurrency)
		return val[int]{}
	}
	return val[int]{v, n}
}

// The types of outputs.
func outputTypes() []string { return []string{"string", "boolean", "integer", "number", "json"} }

// outputDecl is an output that a task promises.
type outputDecl struct {
	name string
	typ  val[string]
}

// maxOutputs bounds what a task may declare.
const maxOutputs = 100

// outputs reads names, or a mapping from name to type.
func (d *decoder) outputs(n *node) []outputDecl {
	var out []outputDecl
	add := func(name *node, typ val[string]) {
		if !paramName.MatchString(name.text) {
			d.add(badOutput, name.at, "%q cannot be the name of an output", shorten(name.text, 60)).Suggestion = "use letters, digits and _, and no digit first"
			return
		}
		if name.text == fragmentOutput {
			d.add(badOutput, name.at, "the output %s is what a task adds others by: may_add declares it", fragmentOutput).Suggestion = "give it another name"
			return
		}
		out = append(out, outputDecl{name.text, typ})
	}
	switch n.kind {
	case listKind:
		for _, item := range n.items {
			if _, ok := d.str(item, "an output"); ok {
				add(item, val[string]{v: outputTypes()[0]})
			}
		}
	case mappingKind:
		for _, p := range n.pairs {
			add(p.key, d.oneOf(p.value, "the type of an output", badOutput, outputTypes()))
		}
	default:
		d.want(n, mappingKind, "outputs")
	}
	if len(out) > maxOutputs {
		d.add(badOutput, n.at, "the task has %d outputs; at most %d are allowed", len(out), maxOutputs).Suggestion = "put them into one output of type json"
		return nil
	}
	for i, x := range out {
		if slices.ContainsFunc(out[:i], func(o outputDecl) bool { return o.name == x.name }) {
			d.add(badOutput, n.at, "the output %s is there twice", x.name).Suggestion = "remove one of them"
		}
	}
	return out
}

// image reads the reference of a container image.
func (d *decoder) image(n *node) val[string] {
	v, ok := d.str(n, "an image")
	if !ok {
		return v
	}
	if !imageText.MatchString(v.v) || len(v.v) > 500 {
		d.add(badImage, n.at, "%q is not the name of an image", shorten(v.v, 60)).Suggestion = "write it as in golang:1.26 or registry.example/team/image@sha256:…"
	}
	return v
}

// shellDecl is the command that gets the file of a script.
type shellDecl struct {
	words []string
	at    *node
	each  []*node // of the words, if they are a list
	added int     // words that nobody has written
}

// say notes where the words come from.
func (s shellDecl) say(o *origins, ptr string) {
	for i := range s.words {
		switch ptr := pointer(ptr, i); {
		case i >= len(s.words)-s.added:
			o.fallback(ptr, originConvention, noteShell)
		case s.each != nil:
			o.say(ptr, s.each[i])
		case i > 0:
			o.sayAs(ptr, s.at, noteWord)
		default:
			o.say(ptr, s.at)
		}
	}
}

// shellCommand reads a command: a text whose words are separated by spaces, or a list.
func (d *decoder) shellCommand(n *node) shellDecl {
	out := shellDecl{at: n}
	switch n.kind {
	case listKind:
		for _, item := range n.items {
			if v, ok := d.str(item, "a word of the shell"); ok {
				out.words, out.each = append(out.words, v.v), append(out.each, item)
			}
		}
	default:
		v, ok := d.str(n, "a shell")
		if !ok {
			return shellDecl{}
		}
		said := strings.Fields(v.v)
		out.words = knownShell(said)
		out.added = len(out.words) - len(said)
	}
	if len(out.words) == 0 || slices.Contains(out.words, "") {
		d.add(badShellCommand, n.at, "the shell has no command").Suggestion = `write one, as in  shell: bash  or  shell: ["python3", "-u"]`
	}
	return out
}

// knownShell makes the shells that people name stop at the first command that fails, like the one that is used if none is named.
func knownShell(words []string) []string {
	if len(words) == 1 {
		switch words[0] {
		case "sh":
			return []string{"sh", "-e"}
		case "bash":
			return []string{"bash", "-eo", "pipefail"}
		}
	}
	return words
}

// oneOf reads a word of a list.
func (d *decoder) oneOf(n *node, what string, code Code, known []string) val[string] {
	v, ok := d.str(n, what)
	if !ok || slices.Contains(known, v.v) {
		return v
	}
	x := d.add(code, n.at, "%s is %q", what, shorten(v.v, 40))
	last := len(known) - 1
	x.Suggestion = "write " + strings.Join(known[:last], ", ")
	if last > 0 {
		x.Suggestion += " or "
	}
	x.Suggestion += known[last]
	if near := nearest(v.v, known); near != "" {
		x.Suggestion = fmt.Sprintf("did you mean %q?", near)
	}
	return val[string]{}
}

func words[S ~string](list []S) []string {
	out := make([]string, 0, len(list))
	for _, w := range list {
		out = append(out, string(w))
	}
	return out
}
