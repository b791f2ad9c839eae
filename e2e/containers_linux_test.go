package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/agent/enginetest"
	"github.com/ottoci/otto/client"
)

// waits is what a run's first task waits for.
func (f *fleet) waits(run int64) (reason string) {
	f.t.Helper()
	if err := f.db.Owner.QueryRow(f.t.Context(), "select coalesce(otto.task_waits_for(t), '') from tasks t where t.run_id = $1 order by t.id limit 1", run).Scan(&reason); err != nil {
		f.t.Fatal(err)
	}
	return reason
}

// A task in a container with a database beside it, from the Ottofile to the log. Before, without an agent that runs containers,
// it waits and says for what.
func TestContainersEndToEnd(t *testing.T) {
	t.Parallel()
	engine := enginetest.Start(t)
	image := engine.Busybox(t)
	f := newFleet(t, 30*time.Second)
	f.server(f.url)
	f.agentWith("bare", f.url, "--docker-host", "none")
	run := f.submit(fmt.Sprintf(`
stages:
  - stage: test
    image: { name: "%[1]s", pull: never }
    services:
      db:
        image: "%[1]s"
        command: [sh, -c, "touch /up; while :; do echo $WORD | nc -l -p 5000; done"]
        env: { WORD: hello }
        health: { command: [test, -e, /up], interval: 100ms }
    outputs: [answer]
    steps: [{ sh: 'until word=$(nc db 5000); do sleep 0.1; done; echo "answer=$word" >>"$OTTO_OUTPUT"; echo "the db says $word"' }]
  - stage: next
    when: outputs.test.answer == "hello"
    image: { name: "%[1]s", pull: never }
    fallback: host
    steps: [{ sh: 'test ! -d /usr && echo in the image || echo on the host' }]
`, image))
	f.worker() // decides the condition
	f.eventually("the task waits for an agent with docker", func() bool {
		return strings.Contains(f.waits(run), "an agent that offers docker=true: the one that is online does not")
	})
	f.agentWith("docked", f.url, "--docker-host", engine.Host)
	detail := f.end(run)
	if got := states(detail); got != "succeeded: succeeded[test=succeeded] succeeded[next=succeeded]" {
		t.Errorf("got %s", got)
	}
	if got := f.log(detail.Stages[0].Tasks[0].Task, 0); !strings.Contains(got, "the db says hello\n") || !strings.Contains(got, "service db is ready after") {
		t.Errorf("the log is %q", got)
	}
	next := f.log(detail.Stages[1].Tasks[0].Task, 0)
	inImage, onHost := strings.Contains(next, "in the image\n"), strings.Contains(next, "on the host\n")
	if told := strings.Contains(next, "the task runs on the host, as its fallback allows"); inImage == onHost || onHost != told {
		t.Errorf("the log is %q", next)
	}
}

// Who can change an Ottofile gets no power over the agents' machines by that: it takes a grant of the project, and an agent that
// allows it.
func TestPowerTakesTwoWords(t *testing.T) {
	t.Parallel()
	engine := enginetest.Start(t)
	image := engine.Busybox(t)
	f := newFleet(t, 30*time.Second)
	f.server(f.url)
	f.agentWith("strict", f.url, "--docker-host", engine.Host)
	dir := t.TempDir()
	asks := map[string]string{
		"privileged": "privileged: true", "docker_socket": "docker_socket: true", "host_network": "network: host",
		"host_mounts": "mounts: [{ host: " + dir + ", at: /host }]",
	}
	tries := map[string]string{
		"docker_socket": "test -S /var/run/docker.sock", "host_network": "ip link show docker0", "host_mounts": "touch /host/mark",
	}
	ottofile := func(power string) string {
		return fmt.Sprintf("stages: [{ stage: deploy, image: { name: \"%s\", pull: never, %s }, steps: [{ sh: %q }] }]", image, asks[power], tries[power]+" && echo has it")
	}
	waiting := map[string]int64{}
	for power := range tries {
		plan, err := f.client().PlanCreate(t.Context(), client.PlanCreate{Ottofile: ottofile(power), File: "Ottofile.yaml"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.client().RunCreate(t.Context(), client.RunCreate{Plan: plan.Digest})
		if want := "has no grant for " + power + ", which containers of the plan ask for: cannot run"; err == nil || !strings.Contains(err.Error(), want) || !client.IsStatus(err, 409) {
			t.Errorf("without a grant: got %v, want a refusal that says %q", err, want)
		}
		f.exec("select otto.project_grant('default', array[$1], 'psql:ana')", power)
		waiting[power] = f.submit(ottofile(power))
	}
	if got, err := f.client().PlanCreate(t.Context(), client.PlanCreate{Ottofile: ottofile("privileged"), File: "Ottofile.yaml"}); err != nil {
		t.Error(err)
	} else if _, err := f.client().RunCreate(t.Context(), client.RunCreate{Plan: got.Digest}); !client.IsStatus(err, 409) {
		t.Errorf("a grant for another power will do: %v", err)
	}
	for power, run := range waiting {
		f.eventually("the task waits for an agent that allows it", func() bool {
			return strings.Contains(f.waits(run), "allows."+power)
		})
	}
	f.agentWith("lax", f.url, "--docker-host", engine.Host, "--allow", "docker_socket", "--allow", "host_network", "--allow", "host_mounts")
	for power, run := range waiting {
		detail := f.end(run)
		if got := f.log(detail.Stages[0].Tasks[0].Task, 0); detail.State != "succeeded" || !strings.Contains(got, "has it\n") {
			t.Errorf("%s: got %s\n%s", power, states(detail), got)
		}
	}
}
