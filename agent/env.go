package agent

import (
	"maps"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/ottoci/otto/client"
)

// hostNames are what a step sees of the host's environment. Nothing else leaks in: what a task depends on must be in its
// plan, and the agent's credentials must not be in its reach.
var hostNames = []string{
	"PATH", "HOME",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
}

// defaultPath is for a host that has no PATH, such as a bare service manager.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// hostEnv is the part of every step's environment that comes from the host.
func (c *Config) hostEnv() map[string]string {
	out := map[string]string{"PATH": defaultPath, "HOME": "/"}
	if me, err := user.Current(); err == nil {
		out["USER"], out["LOGNAME"] = me.Username, me.Username
		if me.HomeDir != "" {
			out["HOME"] = me.HomeDir
		}
	}
	for _, entry := range c.Environ {
		name, value, _ := strings.Cut(entry, "=")
		if value != "" && (slices.Contains(hostNames, name) || slices.Contains(c.PassEnv, name)) {
			out[name] = value
		}
	}
	out["LANG"], out["LC_ALL"] = "C.UTF-8", "C.UTF-8"
	return out
}

// environ is the whole environment of a step, sorted: the host's part, what the agent says of the run, the task's own,
// the step's own.
func (t *task) environ(step client.StepSpec) []string {
	env := t.room.environ()
	maps.Copy(env, map[string]string{
		"TMPDIR":         t.path("tmp"),
		"CI":             "true",
		"OTTO":           "true",
		"OTTO_RUN":       strconv.FormatInt(t.lease.Run, 10),
		"OTTO_RUN_ID":    t.lease.RunID,
		"OTTO_PROJECT":   t.lease.Project,
		"OTTO_STAGE":     t.lease.Stage,
		"OTTO_TASK":      t.lease.Spec.Name,
		"OTTO_TASK_ID":   strconv.FormatInt(t.lease.Task, 10),
		"OTTO_STEP":      step.Name,
		"OTTO_ATTEMPT":   strconv.Itoa(t.lease.Epoch),
		"OTTO_WORKSPACE": t.path("workspace"),
		"OTTO_OUTPUT":    t.path("output"),
		"OTTO_AGENT":     t.agent.cfg.Name,
	})
	if c := t.lease.Checkout; c != nil {
		maps.Copy(env, map[string]string{"OTTO_REPOSITORY": c.Repository, "OTTO_REF": c.Ref, "OTTO_COMMIT": c.Commit})
	}
	maps.Copy(env, t.lease.Spec.Env)
	maps.Copy(env, step.Env)
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out
}
