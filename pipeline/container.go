package pipeline

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

// What a task says of the container that it runs in, and of those beside it.

// containerDecl is an image, and how its container is to be.
type containerDecl struct {
	name         val[string]
	pull         val[string]
	user         val[string]
	privileged   val[bool]
	dockerSocket val[bool]
	network      val[string]
	mounts       []mountDecl
	mountsAt     *node
}

type mountDecl struct {
	host, at val[string]
	readOnly val[bool]
}

type serviceDecl struct {
	name    string
	at      *node // of the name
	image   val[string]
	pull    val[string]
	env     []envDecl
	command wordsDecl
	health  *healthDecl
}

type healthDecl struct {
	command    wordsDecl
	intervalMS val[int64]
	timeoutMS  val[int64]
	retries    val[int]
}

// wordsDecl is a command of words.
type wordsDecl struct {
	words []string
	at    []*node // of each word; nil for one that nobody has written
}

// The words of the language about containers.
const (
	pullMissing  = "missing"
	networkHost  = "host"
	fallbackHost = "host"
	maxServices  = 20
	maxMounts    = 20
)

func networks() []string { return []string{networkHost, "own"} }

func pullPolicies() []string { return []string{pullMissing, "always", "never"} }

func imageObject() object[containerDecl] {
	return object[containerDecl]{what: "an image", doc: "A container image, and how the container is to be.", keys: []key[containerDecl]{
		{"name", "The name of the image.", textType, func(d *decoder, c *containerDecl, _, v *node) { c.name = d.image(v) }},
		{"pull", "When it is pulled: missing (the default), always or never.", pullType,
			func(d *decoder, c *containerDecl, _, v *node) {
				c.pull = d.oneOf(v, "pull", badContainer, pullPolicies())
			}},
		{"user", "Whose processes the steps are: a name of the image, or a number. Default: the agent's user.", userType,
			func(d *decoder, c *containerDecl, _, v *node) { c.user = d.user(v) }},
		{"privileged", "All powers over the agent's machine. It takes a grant of the project, and agents that allow it.", orExpr(boolType),
			func(d *decoder, c *containerDecl, _, v *node) { c.privileged = d.boolean(v, `"privileged"`) }},
		{"docker_socket", "The socket of the container engine, at /var/run/docker.sock. It takes a grant of the project, and agents that allow it.", orExpr(boolType),
			func(d *decoder, c *containerDecl, _, v *node) { c.dockerSocket = d.boolean(v, `"docker_socket"`) }},
		{"network", "own (the default), or host: that of the agent's machine, which takes a grant of the project, and agents that allow it.",
			orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum(networks())} }),
			func(d *decoder, c *containerDecl, _, v *node) {
				c.network = d.oneOf(v, "network", badContainer, networks())
			}},
		{"mounts", "Directories of the agent's machine. They take a grant of the project, and agents that allow it.", mountsType,
			func(d *decoder, c *containerDecl, k, v *node) { c.mounts, c.mountsAt = d.mounts(v), k }},
	}}
}

func mountObject() object[mountDecl] {
	return object[mountDecl]{what: "a mount", doc: "A directory of the agent's machine.", keys: []key[mountDecl]{
		{"host", "Its path there.", pathType, func(d *decoder, m *mountDecl, _, v *node) { m.host = d.absolute(v, "host") }},
		{"at", "Its path in the container.", pathType, func(d *decoder, m *mountDecl, _, v *node) { m.at = d.absolute(v, "at") }},
		{"read_only", "The container cannot write to it.", orExpr(boolType), func(d *decoder, m *mountDecl, _, v *node) { m.readOnly = d.boolean(v, `"read_only"`) }},
	}}
}

func serviceObject() object[serviceDecl] {
	return object[serviceDecl]{what: "a service", doc: "A container beside the task's, which its steps reach by its name.", keys: []key[serviceDecl]{
		{"image", "The name of its image.", textType, func(d *decoder, s *serviceDecl, _, v *node) { s.image = d.image(v) }},
		{"pull", "When it is pulled: missing (the default), always or never.", pullType,
			func(d *decoder, s *serviceDecl, _, v *node) {
				s.pull = d.oneOf(v, "pull", badContainer, pullPolicies())
			}},
		{"env", "Its variables.", envType, func(d *decoder, s *serviceDecl, _, v *node) { s.env = d.env(v) }},
		{"command", "What it runs instead of the image's own: words, or a text of words separated by spaces.", textsType,
			func(d *decoder, s *serviceDecl, _, v *node) { s.command = d.words(v, "a command") }},
		{"health", "How to find out that it is ready; the first step waits for that. Default: the image's own check, else that it runs.", healthType,
			func(d *decoder, s *serviceDecl, _, v *node) { s.health = d.health(v) }},
	}}
}

func healthObject() object[healthDecl] {
	return object[healthDecl]{what: "a health check", doc: "A command that ends with 0 in a service that is ready.", keys: []key[healthDecl]{
		{"command", "The command: words, or a text for the image's shell.", textsType, func(d *decoder, h *healthDecl, _, v *node) { h.command = d.shellWords(v) }},
		{"interval", "The time between two checks. Default 1s.", orExpr(durationType), func(d *decoder, h *healthDecl, _, v *node) { h.intervalMS = d.timeout(v) }},
		{"timeout", "How long one may take. Default 10s.", orExpr(durationType), func(d *decoder, h *healthDecl, _, v *node) { h.timeoutMS = d.timeout(v) }},
		{"retries", "How many may fail in a row. Default 30.", countType, func(d *decoder, h *healthDecl, _, v *node) { h.retries = d.count(v, `"retries"`) }},
	}}
}

func pullType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum(pullPolicies())} })()
}

func userType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema {
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Pattern: userText.String()}, {Type: "integer", Minimum: "0", Maximum: "4294967295"}}}
	})()
}

func pathType() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: "^/"} }

func mountsType() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: withRequired(objectSchema(mountObject()), "host", "at")}
}

func imageType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{textType(), withRequired(objectSchema(imageObject()), "name")}}
}

func healthType() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{textType(), withRequired(objectSchema(healthObject()), "command")}}
}

func servicesType() *jsonschema.Schema {
	return openObject(serviceName.String(), &jsonschema.Schema{AnyOf: []*jsonschema.Schema{textType(), withRequired(objectSchema(serviceObject()), "image")}})
}

func fallbackType() *jsonschema.Schema {
	return orExpr(func() *jsonschema.Schema { return &jsonschema.Schema{Enum: enum([]string{fallbackHost})} })()
}

// serviceName is a name that a resolver takes.
var serviceName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

var userText = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$|^[0-9]{1,10}$`)

// powerful says whether the container is to have power over its host.
func (c *containerDecl) powerful() bool {
	return c.privileged.v || c.dockerSocket.v || c.network.v == networkHost || len(c.mounts) > 0
}

// container reads the name of an image, or a mapping.
func (d *decoder) container(n *node) containerDecl {
	if n.kind != mappingKind {
		return containerDecl{name: d.image(n)}
	}
	c := decodeObject(d, d.lang.image, n)
	if _, said := n.find("name"); !said {
		d.add(missingKey, n.at, "image needs a name").Suggestion = "add name: IMAGE"
	}
	return c
}

func (d *decoder) user(n *node) val[string] {
	v, ok := val[string]{n.text, n}, true
	if n.kind != numberKind {
		v, ok = d.str(n, "a user")
	}
	if ok && !userText.MatchString(v.v) {
		d.add(badContainer, n.at, "%q cannot be a user", shorten(v.v, 40)).Suggestion = "write a name of the image's /etc/passwd, or a number"
		return val[string]{}
	}
	return v
}

func (d *decoder) mounts(n *node) (out []mountDecl) {
	d.list(n, "mounts", func(item *node) {
		if !d.want(item, mappingKind, "a mount") {
			return
		}
		m := decodeObject(d, d.lang.mount, item)
		for _, name := range []string{"host", "at"} {
			if _, said := item.find(name); !said {
				d.add(missingKey, item.at, "a mount needs %s", name).Suggestion = "add " + name + ": /PATH"
			}
		}
		out = append(out, m)
	})
	if len(out) > maxMounts {
		d.add(badContainer, n.at, "%d mounts are too many; at most %d are allowed", len(out), maxMounts)
		return nil
	}
	return out
}

// absolute reads a path from the root.
func (d *decoder) absolute(n *node, what string) val[string] {
	v, ok := d.str(n, what)
	if ok && (!path.IsAbs(v.v) || path.Clean(v.v) != v.v || v.v == "/" || strings.ContainsRune(v.v, 0)) {
		d.add(badContainer, n.at, "%q is not a directory's path from the root", shorten(v.v, 60)).Suggestion = "write it whole and without . and .., as in /srv/cache"
		return val[string]{}
	}
	return v
}

// services reads a mapping from names to images, or more of each.
func (d *decoder) services(n *node) []serviceDecl {
	if !d.want(n, mappingKind, "services") {
		return nil
	}
	out := make([]serviceDecl, 0, len(n.pairs))
	for _, p := range n.pairs {
		s := serviceDecl{}
		if p.value.kind == mappingKind {
			s = decodeObject(d, d.lang.service, p.value)
			if _, said := p.value.find("image"); !said {
				d.add(missingKey, p.key.at, "a service needs an image").Suggestion = "add image: NAME"
			}
		} else {
			s.image = d.image(p.value)
		}
		if s.name, s.at = p.key.text, p.key; !serviceName.MatchString(s.name) {
			d.add(badContainer, p.key.at, "%q cannot be the name of a service", shorten(s.name, 60)).Suggestion = "use small letters, digits and -: steps find it by this name in the network"
			continue
		}
		out = append(out, s)
	}
	if len(out) > maxServices {
		d.add(badContainer, n.at, "%d services are too many; at most %d are allowed", len(out), maxServices)
		return nil
	}
	return out
}

// health reads a command, or a mapping.
func (d *decoder) health(n *node) *healthDecl {
	if n.kind != mappingKind {
		return &healthDecl{command: d.shellWords(n)}
	}
	h := decodeObject(d, d.lang.health, n)
	if _, said := n.find("command"); !said {
		d.add(missingKey, n.at, "a health check needs a command").Suggestion = "add command: …"
	}
	return &h
}

// words reads a command: a list of words, or a text whose words are separated by spaces.
func (d *decoder) words(n *node, what string) (out wordsDecl) {
	if n.kind != listKind {
		v, ok := d.str(n, what)
		if ok {
			out.words = strings.Fields(v.v)
			out.at = slices.Repeat([]*node{n}, len(out.words))
		}
	} else {
		for _, item := range n.items {
			if v, ok := d.str(item, "a word of "+what); ok {
				out.words, out.at = append(out.words, v.v), append(out.at, item)
			}
		}
	}
	if len(out.words) == 0 {
		d.add(badContainer, n.at, "%s has no words", what)
	}
	return out
}

// shellWords reads a command: a list of words, or a text for a shell.
func (d *decoder) shellWords(n *node) wordsDecl {
	if n.kind == listKind {
		return d.words(n, "a command")
	}
	v, ok := d.str(n, "a command")
	if !ok || strings.TrimSpace(v.v) == "" {
		d.add(badContainer, n.at, "the command of a health check is empty")
		return wordsDecl{}
	}
	return wordsDecl{words: []string{"/bin/sh", "-c", v.v}, at: []*node{nil, nil, n}}
}

func (w wordsDecl) say(o *origins, ptr string) {
	for i, at := range w.at {
		switch {
		case at == nil:
			o.fallback(pointer(ptr, i), originConvention, noteHealthShell)
		case len(w.words) > 1 && i > 0 && w.at[i-1] == at || at.text != w.words[i]:
			o.sayAs(pointer(ptr, i), at, noteWord)
		default:
			o.say(pointer(ptr, i), at)
		}
	}
}

// Container is what a task says of its container beside the image's name. All but pull and user take a grant of the project.
type Container struct {
	Pull         string  `json:"pull,omitempty"` // missing, always or never; missing if empty
	User         string  `json:"user,omitempty"`
	Privileged   bool    `json:"privileged,omitempty"`
	DockerSocket bool    `json:"docker_socket,omitempty"`
	HostNetwork  bool    `json:"host_network,omitempty"`
	Mounts       []Mount `json:"mounts,omitempty"`
}

// Mount is a directory of the host that a container sees.
type Mount struct {
	Host     string `json:"host"`
	At       string `json:"at"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Service is a container beside that of the steps, which reach it by its name.
type Service struct {
	Name    string            `json:"name"`
	Image   string            `json:"image"`
	Pull    string            `json:"pull,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Command []string          `json:"command,omitempty"` // the image's own if empty
	Health  *Health           `json:"health,omitempty"`  // the image's own if nil
}

// Health says how to find out that a service is ready.
type Health struct {
	Command    []string `json:"command"`
	IntervalMS int64    `json:"interval_ms,omitempty"`
	TimeoutMS  int64    `json:"timeout_ms,omitempty"`
	Retries    int      `json:"retries,omitempty"`
}

// allowsPrefix begins the names of capabilities by which an agent tells what it allows to containers.
const allowsPrefix = "allows."

// Powers are what the container has beyond those of any, by the names that grants and agents use, sorted.
func (c *Container) Powers() (powers []string) {
	if c == nil {
		return nil
	}
	if c.DockerSocket {
		powers = append(powers, "docker_socket")
	}
	if len(c.Mounts) > 0 {
		powers = append(powers, "host_mounts")
	}
	if c.HostNetwork {
		powers = append(powers, "host_network")
	}
	if c.Privileged {
		powers = append(powers, "privileged")
	}
	return powers
}

// lowerContainer puts in the container of a task, its services, and what they require of an agent.
func (l *lowering) lowerContainer(t *taskDecl, out *Task, ptr string) {
	o, c := &l.origins, &t.image
	out.Image, out.Fallback = c.name.v, t.fallback.v
	o.sayIf(ptr+"/image", c.name.at, out.Image != "")
	o.sayIf(ptr+"/fallback", t.fallback.at, out.Fallback != "")
	out.Container = l.containerOf(c, ptr+"/container")
	for i := range t.services {
		out.Services = append(out.Services, l.serviceOf(&t.services[i], pointer(ptr+"/services", i)))
	}
	l.checkContainer(t, out)
}

func (l *lowering) containerOf(c *containerDecl, ptr string) *Container {
	o := &l.origins
	out := &Container{Pull: c.pull.v, User: c.user.v, Privileged: c.privileged.v, DockerSocket: c.dockerSocket.v, HostNetwork: c.network.v == networkHost}
	o.sayIf(ptr+"/pull", c.pull.at, out.Pull != "")
	o.sayIf(ptr+"/user", c.user.at, out.User != "")
	o.sayIf(ptr+"/privileged", c.privileged.at, out.Privileged)
	o.sayIf(ptr+"/docker_socket", c.dockerSocket.at, out.DockerSocket)
	if out.HostNetwork {
		o.sayAs(ptr+"/host_network", c.network.at, noteHostNetwork)
	}
	for i, m := range c.mounts {
		if m.host.at == nil || m.at.at == nil {
			continue // told already
		}
		at := pointer(ptr+"/mounts", i)
		o.say(at+"/host", m.host.at)
		o.say(at+"/at", m.at.at)
		o.sayIf(at+"/read_only", m.readOnly.at, m.readOnly.v)
		out.Mounts = append(out.Mounts, Mount{Host: m.host.v, At: m.at.v, ReadOnly: m.readOnly.v})
	}
	if out.Pull == "" && out.User == "" && len(out.Powers()) == 0 {
		return nil
	}
	return out
}

func (l *lowering) serviceOf(s *serviceDecl, ptr string) Service {
	o := &l.origins
	out := Service{Name: s.name, Image: s.image.v, Pull: s.pull.v, Command: s.command.words}
	o.say(ptr+"/name", s.at)
	o.say(ptr+"/image", s.image.at)
	o.sayIf(ptr+"/pull", s.pull.at, out.Pull != "")
	s.command.say(o, ptr+"/command")
	for _, e := range s.env {
		if e.value.at.late != "" {
			l.add(exprLater, e.value.at.at, "a variable of a service must be known before the run")
			continue
		}
		if out.Env == nil {
			out.Env = map[string]string{}
		}
		out.Env[e.name] = e.value.v
		o.say(ptr+"/env/"+escape(e.name), e.value.at)
	}
	if h := s.health; h != nil {
		out.Health = &Health{Command: h.command.words, IntervalMS: h.intervalMS.v, TimeoutMS: h.timeoutMS.v, Retries: h.retries.v}
		h.command.say(o, ptr+"/health/command")
		o.sayIf(ptr+"/health/interval_ms", h.intervalMS.at, h.intervalMS.v > 0)
		o.sayIf(ptr+"/health/timeout_ms", h.timeoutMS.at, h.timeoutMS.v > 0)
		o.sayIf(ptr+"/health/retries", h.retries.at, h.retries.v > 0)
	}
	return out
}

// checkContainer notes what does not go together.
func (l *lowering) checkContainer(t *taskDecl, out *Task) {
	powers := out.Container.Powers()
	if out.Image == "" {
		if len(out.Services) > 0 {
			l.add(badContainer, t.servicesAt.at, "services are beside a container, and the task has no image").Suggestion = "add image: NAME, in which its steps run"
		}
		if out.Fallback != "" {
			l.add(badContainer, t.fallback.at.at, "the task has no image, so there is nothing to fall back from").Suggestion = "remove fallback"
		}
		return
	}
	if out.Fallback != "" && (len(out.Services) > 0 || len(powers) > 0) {
		l.add(badContainer, t.fallback.at.at, "a task with services or powers cannot run without a container").Suggestion = "remove fallback"
	}
	if len(out.Services) > 0 && out.Container != nil && out.Container.HostNetwork {
		l.add(badContainer, t.servicesAt.at, "a task in the network of its host reaches no services by their names").Suggestion = "remove network: host"
	}
	for _, power := range powers {
		at := map[string]*node{"docker_socket": t.image.dockerSocket.at, "host_mounts": t.image.mountsAt, "host_network": t.image.network.at, "privileged": t.image.privileged.at}[power]
		l.add(powerAsked, at.at, "%s is power over the agent's machine", strings.ReplaceAll(power, "_", " ")).
			Suggestion = "it takes a grant of the project (" + power + "), and agents that allow it: otto agent --allow " + power
	}
}

// requireContainer puts in what an agent must offer to run the task's container.
func (l *lowering) requireContainer(out *Task, ptr string) {
	need := func(name string, note string) {
		if _, said := out.Requires[name]; said {
			return
		}
		if out.Requires == nil {
			out.Requires = map[string]any{}
		}
		out.Requires[name] = true
		l.origins.fallback(ptr+"/requires/"+escape(name), originConvention, note)
	}
	if out.Image != "" && out.Fallback == "" {
		need("docker", noteImage)
	}
	for _, power := range out.Container.Powers() {
		need(allowsPrefix+power, notePower)
	}
}
