package isolation

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
)

// keeps says in words what each level keeps back.
func keeps() []string {
	return []string{
		"a session of its own; no process outlives its step",
		"a user of its own for each task, private /tmp and home, an end by cgroup",
		"no sight of other processes, files of homes or devices; a filter of system calls",
		"no network but through the agent's proxy, which leads to the public internet only",
	}
}

// Doctor tries to escape from each level. Levels are tried together: each has a cell of its own.
func (h *Host) Doctor(ctx context.Context) Report {
	r := Report{Levels: make([]Finding, len(keeps()))}
	var trying sync.WaitGroup
	for i, what := range keeps() {
		r.Levels[i] = Finding{Level: Level(i).String(), Keeps: what, Holds: i == int(S0)}
		if i == int(S0) { // every step shows that it holds: the keeper could not work without
			continue
		}
		trying.Go(func() {
			f := &r.Levels[i]
			if err := h.Try(ctx, Level(i)); err != nil {
				f.Missing, f.Remedy = strings.Join(strings.Fields(err.Error()), " "), h.remedy(Level(i), err)
				return
			}
			f.Holds = true
		})
	}
	trying.Wait()
	// Each level promises what the ones below it do. S1 is no part of that where tasks have namespaces instead of users.
	if !r.Levels[S2].Holds && r.Levels[S3].Holds {
		r.Levels[S3].Holds, r.Levels[S3].Missing = false, "S2 does not hold"
	}
	for i, f := range r.Levels {
		if f.Holds {
			r.Best = Level(i)
		}
	}
	r.Limits = h.bounds()
	return r
}

// remedy says what to do about a level that does not hold.
func (h *Host) remedy(level Level, err error) string {
	var escaped *Escaped
	text := err.Error()
	switch {
	case errors.As(err, &escaped):
		return "this kernel or bubblewrap lets out more than it should: upgrade it, and tell us"
	case errors.Is(err, errNoBubble):
		return "install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap) and have it on the agent's PATH"
	case errors.Is(err, errNoUsers):
		return "map more users into the container, have --task-users begin with one that it has, or ask for S2"
	case errors.Is(err, errNotRoot):
		return "run the agent as root, or ask for S2, which needs no root"
	case level == S1 && h.Cgroups == nil:
		return "mount a cgroup v2 tree that the agent may write, on Linux 5.14 or newer (systemd: Delegate=yes)"
	case strings.Contains(text, "amespace"), strings.Contains(text, "uid map"):
		return "allow user namespaces: sysctl user.max_user_namespaces=15000, and where they exist kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0"
	case os.Geteuid() == 0:
		return "see docs/isolation.md"
	}
	return "run the agent as root, or see docs/isolation.md"
}

// bounds says how each limit is kept.
func (h *Host) bounds() []Bound {
	out := []Bound{}
	for _, b := range []struct{ name, controller, otherwise string }{
		{"memory", memoryController, "watched by the step's keeper"},
		{"processes", pidsController, "watched by the step's keeper"},
		{"cpu", cpuController, "fewer cores (affinity)"},
	} {
		mechanism := h.Cgroups.Mechanism(b.controller)
		if mechanism == "" {
			mechanism = b.otherwise
		}
		out = append(out, Bound{b.name, mechanism})
	}
	return append(out, Bound{"open_files", "rlimit"}, Bound{"disk", "rlimit for each file; the whole watched by the agent"}, Bound{"output", "counted by the agent"})
}

// Sweep ends what a dead agent of the same name has left, and says which tasks that was of.
func (h *Host) Sweep() ([]string, error) {
	if h.Cgroups == nil {
		return nil, nil
	}
	return h.Cgroups.Sweep()
}
