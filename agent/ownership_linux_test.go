package agent_test

import (
	"testing"

	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// A checked out repository belongs to the user of the task: steps write to it, and git works in it.
func TestTaskOwnsItsRepository(t *testing.T) {
	t.Parallel()
	dir, _, second := gitRepo(t)
	for level := isolation.S1; level <= isolation.S2; level++ {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			needs(t, level)
			s := newServer(t)
			run(t, s, files, at(level))
			rec := s.giveLease(client.Lease{
				Spec: steps(sh(`git status --porcelain; echo three >f; echo new >g; git status --porcelain
					git add f g; git -c user.name=t -c user.email=t@t commit --quiet -m three; git log --format=%s
					test -z "$(find . ! -user "$(id -u)")"`)),
				Checkout: &client.Checkout{Repository: "file://" + dir, Ref: "main", Commit: second},
			})
			result := s.finished(t, rec)
			log := s.logOf(t, rec, result.Log)
			if got := states(result.Steps); got != "succeeded 0" {
				t.Errorf("%s %s\n%s", got, result.Reason, text(log, "stderr"))
			}
			if got, want := text(log, "stdout"), " M f\n?? g\nthree\ntwo\n"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// X6: no step can put something else in the place of the file for its outputs, since the directory around it is the agent's. What
// it has said before counts.
func TestOutputsCannotBeReplaced(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"symlink":    `ln -sf /etc/passwd "$OTTO_OUTPUT"`,
		"to_nowhere": `ln -sf /nowhere "$OTTO_OUTPUT"`,
		"fifo":       `rm -f "$OTTO_OUTPUT" && mkfifo "$OTTO_OUTPUT"`,
		"directory":  `rm -f "$OTTO_OUTPUT" && mkdir "$OTTO_OUTPUT"`,
		"device":     `rm -f "$OTTO_OUTPUT" && ln -s /dev/zero "$OTTO_OUTPUT"`,
		"hardlink":   `rm -f "$OTTO_OUTPUT" && ln /etc/passwd "$OTTO_OUTPUT"`,
	} {
		for level := isolation.S1; level <= isolation.S2; level++ {
			t.Run(name+"_"+level.String(), func(t *testing.T) {
				t.Parallel()
				needs(t, level)
				s := newServer(t)
				run(t, s, at(level))
				spec := steps(sh(`echo version=before >>"$OTTO_OUTPUT"; ` + script))
				spec.Outputs = declared()
				rec := s.give(spec)
				result := s.finished(t, rec)
				if got := states(result.Steps); got != "failed 1" || result.Outputs["version"] != "before" {
					t.Errorf("the task is %s with %v", got, result.Outputs)
				}
				if after := states(s.finished(t, s.give(steps(sh("true")))).Steps); after != "succeeded 0" {
					t.Errorf("the agent is not well afterwards: %s", after)
				}
			})
		}
	}
}
