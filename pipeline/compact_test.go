package pipeline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// compact writes a plan in reading order, a line for each thing, without what is a default: it keeps an example short. What
// it leaves out (origins, the outcomes of exit codes that nobody has changed) other tests look at.
func compact(t *testing.T, p *Plan) string {
	t.Helper()
	c := &compactWriter{t: t}
	if p.Name != "" {
		c.line(0, "name", value(t, p.Name))
	}
	if !p.Trigger.Starts || p.Trigger.Filter != "" {
		c.line(0, map[bool]string{true: "starts by", false: "does not start by"}[p.Trigger.Starts], p.Trigger.Filter+":", p.Trigger.Reason)
	}
	for _, name := range sortedKeys(p.Inputs.Params) {
		c.line(0, "param", name, "=", value(t, p.Inputs.Params[name]))
	}
	for _, globs := range sortedKeys(p.Inputs.Hashes) {
		c.line(0, "hash", globs, "=", p.Inputs.Hashes[globs][:12])
	}
	for _, s := range p.Stages {
		c.line(0, "stage", value(t, s.Name), string(s.Mode), flags(map[string]bool{"always": s.Always, "on_failure": s.OnFailure}))
		c.when(1, s.When)
		for _, task := range s.Tasks {
			c.task(task)
		}
	}
	return c.b.String()
}

type compactWriter struct {
	t *testing.T
	b strings.Builder
}

func (c *compactWriter) line(depth int, words ...string) {
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	c.b.WriteString(strings.Repeat("  ", depth) + strings.Join(words, " ") + "\n")
}

func (c *compactWriter) when(depth int, w *Condition) {
	if w == nil {
		return
	}
	c.line(depth, "when", value(c.t, w.Expr), "is", string(w.Verdict))
	for _, name := range sortedKeys(w.Saw) {
		c.line(depth+1, "saw", name, "=", value(c.t, w.Saw[name]))
	}
	if w.Residual != "" {
		c.line(depth+1, "left", w.Residual)
	}
}

func (c *compactWriter) task(x Task) {
	c.line(1, "task", value(c.t, x.Name), named("of", x.Base), flags(map[string]bool{"always": x.Always, "allow_failure": x.AllowFailure}))
	if x.Omitted != "" {
		c.line(2, "omitted:", x.Omitted)
	}
	c.when(2, x.When)
	if x.Needs != nil {
		c.line(2, "needs", value(c.t, x.Needs))
	}
	c.values("matrix", x.Matrix)
	c.values("requires", x.Requires)
	c.line2("pool", x.Pool)
	if x.Isolation > 0 {
		c.line(2, "isolation", fmt.Sprintf("S%d", x.Isolation))
	}
	if x.Limits != nil {
		c.line(2, "limits", value(c.t, x.Limits))
	}
	c.line2("image", x.Image)
	if x.Checkout != nil {
		c.line2("checkout", fmt.Sprintf("%+v", *x.Checkout))
	}
	c.line2("environment", x.Environment)
	if g := x.Concurrency; g != nil {
		c.line(2, "concurrency", value(c.t, g.Group), fmt.Sprint(g.Limit), string(g.OnConflict))
	}
	if x.TimeoutMS != defaultTaskTimeout.Milliseconds() {
		c.line(2, "timeout", (time.Duration(x.TimeoutMS) * time.Millisecond).String())
	}
	if r := x.Retries; r != nil {
		c.line(2, "retries", value(c.t, r))
	}
	if x.OnLost != OnLostRetry {
		c.line(2, "on_lost", string(x.OnLost))
	}
	for _, name := range sortedKeys(x.Outputs) {
		c.line(2, "output", name, x.Outputs[name])
	}
	c.env(2, x.Env)
	for _, l := range x.Later {
		c.line(2, "later", l.Field, "=", l.Expr)
	}
	for _, s := range x.Steps {
		c.step(s)
	}
}

func (c *compactWriter) step(s Step) {
	sh := s.Sh
	if sh == s.Name {
		sh = ""
	}
	c.line(2, "step", value(c.t, s.Name), flags(map[string]bool{"always": s.Always, "allow_failure": s.AllowFailure}))
	if sh != "" {
		c.line(3, "sh", value(c.t, sh))
	}
	if s.Omitted != "" {
		c.line(3, "omitted:", s.Omitted)
	}
	c.when(3, s.When)
	if s.Shell != nil {
		c.line(3, "shell", value(c.t, s.Shell))
	}
	if s.Dir != "" {
		c.line(3, "dir", s.Dir)
	}
	if s.TimeoutMS != 0 {
		c.line(3, "timeout", (time.Duration(s.TimeoutMS) * time.Millisecond).String())
	}
	usual := map[string]string{}
	for _, x := range defaultExits() {
		usual[x.code] = x.outcome
	}
	for _, code := range slices.Sorted(maps.Keys(s.ExitCodes)) {
		if usual[code] != s.ExitCodes[code] {
			c.line(3, "exit", code, s.ExitCodes[code])
		}
	}
	c.env(3, s.Env)
}

func (c *compactWriter) line2(name, text string) {
	if text != "" {
		c.line(2, name, text)
	}
}

func (c *compactWriter) values(name string, m map[string]any) {
	if len(m) > 0 {
		c.line(2, name, value(c.t, m))
	}
}

func (c *compactWriter) env(depth int, env map[string]string) {
	for _, name := range sortedKeys(env) {
		c.line(depth, "env", name, "=", value(c.t, env[name]))
	}
}

func named(what, text string) string {
	if text == "" {
		return ""
	}
	return what + " " + text
}

func flags(set map[string]bool) string {
	var out []string
	for _, name := range sortedKeys(set) {
		if set[name] {
			out = append(out, name)
		}
	}
	return strings.Join(out, " ")
}

// value writes a value as JSON, with < and & as they are.
func value(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}
