package agent_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/engine"
	"github.com/ottoci/otto/agent/enginetest"
	"github.com/ottoci/otto/client"
)

func TestServices(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	spec := inImage(sh("cat; nc db 5000; nc cache 5000; test ! -e /ready"))
	spec.Services = []client.ServiceSpec{
		{Name: "db", Image: enginetest.Busybox, Env: map[string]string{"GREETING": "from the db"},
			Command: []string{"sh", "-c", `sleep 0.5; touch /ready; while :; do echo "$GREETING" | nc -l -p 5000; done`},
			Health:  &client.HealthSpec{Command: []string{"test", "-e", "/ready"}, IntervalMS: 100, Retries: 100}},
		{Name: "cache", Image: enginetest.Busybox, Command: []string{"sh", "-c", "while :; do echo from the cache | nc -l -p 5000; done"},
			Health: &client.HealthSpec{Command: []string{"sh", "-c", "netstat -ltn | grep -q :5000"}, IntervalMS: 100, Retries: 100}},
	}
	rec := s.give(spec)
	result := s.finished(t, rec)
	log := s.logOf(t, rec, result.Log)
	if got := text(log, "stdout"); got != "from the db\nfrom the cache\n" {
		t.Errorf("got %q, %s\n%s", got, states(result.Steps), said(log))
	}
	if got := text(log, "agent"); !strings.Contains(got, "service db is ready after ") || !strings.Contains(got, "service cache is ready after ") {
		t.Errorf("the log says %q", got)
	}
}

func TestServicesThatAreNotReady(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	tests := []struct {
		name    string
		service client.ServiceSpec
		want    []string // in the reason, then in the log
	}{
		{"unhealthy", client.ServiceSpec{Command: []string{"sh", "-c", "echo my last words; sleep 1000"},
			Health: &client.HealthSpec{Command: []string{"sh", "-c", "echo no such table; exit 1"}, IntervalMS: 50, Retries: 3}},
			[]string{"service db: it is unhealthy after 3 checks: no such table", "db: my last words"}},
		{"ends", client.ServiceSpec{Command: []string{"sh", "-c", "echo cannot open the disk >&2; exit 3"},
			Health: &client.HealthSpec{Command: []string{"false"}}}, []string{"service db: it has ended with exit code 3", "db: cannot open the disk"}},
		{"has_no_such_program", client.ServiceSpec{Command: []string{"no-such-program"}}, []string{"start service db: ", ""}},
		{"has_no_image", client.ServiceSpec{Image: "otto.test/none:1", Pull: "never"}, []string{"service db: the engine has no image otto.test/none:1", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.service.Name = "db"
			if tt.service.Image == "" {
				tt.service.Image = enginetest.Busybox
			}
			spec := inImage(sh("echo must not run"))
			spec.Services = []client.ServiceSpec{tt.service}
			rec := s.give(spec)
			result := s.finished(t, rec)
			log := s.logOf(t, rec, result.Log)
			if result.Outcome != client.Failed || states(result.Steps) != "skipped" || !strings.HasPrefix(result.Reason, tt.want[0]) {
				t.Errorf("got %s %q, %s", result.Outcome, result.Reason, states(result.Steps))
			}
			if got := text(log, "agent"); !strings.Contains(got, tt.want[1]) {
				t.Errorf("the log says %q", got)
			}
		})
	}
}

// An abort while a service is waited for takes effect at once.
func TestAbortWhileServicesStart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	spec := inImage(sh("echo must not run"))
	spec.Services = []client.ServiceSpec{{Name: "db", Image: enginetest.Busybox, Command: []string{"sleep", "1000"}, Env: map[string]string{"MARK": t.Name()},
		Health: &client.HealthSpec{Command: []string{"false"}, IntervalMS: 1000, Retries: 1000}}}
	rec := s.give(spec)
	until(t, patience, "the service", func() bool { return len(marked(t.Name())) > 0 })
	s.locked(func() { rec.abort = &client.Abort{Lease: rec.lease.ID, Level: "abort", Reason: "ana said so"} })
	result := s.finished(t, rec)
	if result.Outcome != client.Aborted || result.Reason != "ana said so" || len(marked(t.Name())) > 0 {
		t.Errorf("got %s %q, %v", result.Outcome, result.Reason, marked(t.Name()))
	}
}

// Two tasks at once see neither each other's processes nor files, and do not reach each other in the network.
func TestContainersAreApart(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	f, _ := runContainers(t, s)
	a := s.give(inImage(sh("touch $TMPDIR/mark /tmp/mark; hostname -i >.a; mv .a address; nc -ll -p 5000 -e echo reached & while :; do sleep 0.1; done")))
	var address string
	until(t, patience, "the address", func() bool {
		body, err := os.ReadFile(filepath.Join(f.cfg.WorkDir, a.lease.ID, "workspace", "address"))
		address = strings.TrimSpace(string(body))
		return err == nil
	})
	if net.ParseIP(address) == nil {
		t.Fatalf("%q is no address", address)
	}
	// Three times: an engine that makes a network for somebody else takes its rules out and puts them in again.
	spec := inImage(sh(fmt.Sprintf("for i in 1 2 3; do nc -w 1 %s 5000 </dev/null || echo not; sleep 0.2; done; ls -d /proc/[0-9]* | wc -l; ls %s; test -e /tmp/mark && echo sees a file || true", address, f.cfg.WorkDir)))
	b := s.give(spec)
	result := s.finished(t, b)
	log := s.logOf(t, b, result.Log)
	if got := text(log, "stdout"); !strings.Contains(got, "not\n") || strings.Contains(got, "sees") || strings.Contains(got, a.lease.ID) || !strings.Contains(got, b.lease.ID) {
		t.Errorf("got %q", said(log))
	}
	s.locked(func() { a.abort = &client.Abort{Lease: a.lease.ID, Level: "kill", Reason: "over"} })
	s.finished(t, a)
}

// What asks for S3 has no way out of its container, not even to the engine's machine; what does not has one. Services are reached.
func TestContainerWithoutAWayOut(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	runContainers(t, s)
	for name, tt := range map[string]struct {
		isolation int
		way       string
	}{"open": {0, "a way"}, "S3": {3, "no way"}, "S4": {4, "no way"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The first address of the network is the machine's: it refuses a port at which nobody listens, if it can be reached.
			spec := inImage(sh(`
				gateway=$(hostname -i | cut -d. -f1-3).1
				said=$(nc -w 3 $gateway 9 2>&1 </dev/null || true)
				case $said in *refused*) echo a way ;; *) echo no way ;; esac
				nc -w 3 169.254.169.254 80 </dev/null && echo reached || true
				nc db 5000 </dev/null`))
			spec.Isolation = tt.isolation
			spec.Services = []client.ServiceSpec{{Name: "db", Image: enginetest.Busybox, Command: []string{"nc", "-ll", "-p", "5000", "-e", "echo", "served"},
				Health: &client.HealthSpec{Command: []string{"sh", "-c", "netstat -ltn | grep -q :5000"}, IntervalMS: 50, Retries: 200}}}
			rec := s.give(spec)
			result := s.finished(t, rec)
			log := s.logOf(t, rec, result.Log)
			if got := text(log, "stdout"); got != tt.way+"\nserved\n" {
				t.Errorf("got %s, %q", result.Outcome, said(log))
			}
		})
	}
}

func TestPullPolicies(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	_, e := runContainers(t, s)
	registry := e.Registry(t, enginetest.BusyboxFiles(t), "", "")
	for _, tt := range []struct {
		policy  string
		pulls   int64 // in all
		outcome string
	}{
		{"never", 0, "the engine has no image " + registry.Image + ", and the task says never to pull it"},
		{"", 1, ""}, {"missing", 1, ""}, {"never", 1, ""}, {"always", 2, ""},
	} {
		spec := inImage(sh("echo $FROM"))
		spec.Image, spec.Container = registry.Image, &client.ContainerSpec{Pull: tt.policy}
		rec := s.give(spec)
		result := s.finished(t, rec)
		log := s.logOf(t, rec, result.Log)
		if result.Reason != tt.outcome || tt.outcome == "" && text(log, "stdout") != "registry\n" {
			t.Errorf("%s: got %q\n%s", tt.policy, result.Reason, said(log))
		}
		if got := registry.Pulls.Load(); got != tt.pulls {
			t.Errorf("%s: pulled %d times, want %d", tt.policy, got, tt.pulls)
		}
		if pulled := strings.Contains(text(log, "agent"), "pulled "+registry.Image+" in "); pulled != (tt.policy == "always" || tt.policy == "") {
			t.Errorf("%s: the log says %q", tt.policy, text(log, "agent"))
		}
	}
}

func TestRegistryCredentials(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	config := filepath.Join(t.TempDir(), "config.json")
	_, e := runContainers(t, s, func(c *agent.Config) { c.Engine.Registries = config })
	registry := e.Registry(t, enginetest.BusyboxFiles(t), "otto", "hush-hush")
	for _, tt := range []struct{ name, config, want string }{
		{"missing_file", "", "read the credentials of registries: open "},
		{"no_json", "hush-hush", "it is not a config.json of Docker"},
		{"another_registry", `{"auths": {"registry.example": {"auth": "` + basic("otto", "hush-hush") + `"}}}`, "pull "},
		{"wrong_password", `{"auths": {"` + registry.Host + `": {"auth": "` + basic("otto", "wrong") + `"}}}`, "pull "},
		{"not_base64", `{"auths": {"` + registry.Host + `": {"auth": "hush-hush"}}}`, "auth is not the base64 of USER:PASSWORD"},
		{"right", `{"auths": {"registry.example": {}, "https://` + registry.Host + `/v2/": {"auth": "` + basic("otto", "hush-hush") + `"}}}`, ""},
	} {
		if tt.config != "" {
			if err := os.WriteFile(config, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		spec := inImage(sh("echo $FROM"))
		spec.Image = registry.Image
		rec := s.give(spec)
		result := s.finished(t, rec)
		log := s.logOf(t, rec, result.Log)
		if !strings.Contains(result.Reason, tt.want) || (tt.want == "") != (result.Reason == "" && text(log, "stdout") == "registry\n") {
			t.Errorf("%s: got %q\n%s", tt.name, result.Reason, said(log))
		}
		if strings.Contains(result.Reason+said(log), "hush") {
			t.Errorf("%s: the password is told: %q\n%s", tt.name, result.Reason, said(log))
		}
	}
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// The agent's half of the bar: what is not allowed to the agent it does not do, whatever the server says.
func TestAgentRefusesPowers(t *testing.T) {
	t.Parallel()
	asks := map[string]client.ContainerSpec{
		engine.Privileged:   {Privileged: true},
		engine.DockerSocket: {DockerSocket: true},
		engine.HostNetwork:  {HostNetwork: true},
		engine.HostMounts:   {Mounts: []client.MountSpec{{Host: "/", At: "/host"}}},
	}
	for power, asked := range asks {
		t.Run(power, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			others := []string{}
			for other := range asks {
				if other != power {
					others = append(others, other)
				}
			}
			runContainers(t, s, func(c *agent.Config) { c.Engine.Allow = others })
			spec := inImage(sh("echo must not run"))
			spec.Container = &asked
			rec := s.give(spec)
			result := s.finished(t, rec)
			if want := "this agent does not allow containers to have " + power; result.Reason != want || rec.starts != 0 {
				t.Errorf("got %q, %d starts, want %q", result.Reason, rec.starts, want)
			}
			s.locked(func() {
				if offers := s.offers[0].Offers; offers["allows."+power] != nil || offers["docker"] != true || offers["allows."+others[0]] != true {
					t.Errorf("the agent offers %v", offers)
				}
			})
		})
	}
}

func TestAllowedPowers(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	dir := t.TempDir()
	runContainers(t, s, func(c *agent.Config) { c.Engine.Allow = engine.Powers() })
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		spec   client.ContainerSpec
		script string
	}{
		"privileged":      {client.ContainerSpec{Privileged: true}, "mount -t tmpfs none /tmp"},
		"docker_socket":   {client.ContainerSpec{DockerSocket: true}, "test -S /var/run/docker.sock"},
		"host_network":    {client.ContainerSpec{HostNetwork: true}, "ip link show docker0"},
		"host_mounts":     {client.ContainerSpec{Mounts: []client.MountSpec{{Host: dir, At: "/host"}}}, "grep -q host /host/file; touch /host/new"},
		"read_only_mount": {client.ContainerSpec{Mounts: []client.MountSpec{{Host: dir, At: "/host", ReadOnly: true}}}, "grep -q host /host/file; ! touch /host/other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := inImage(sh(tt.script))
			spec.Container = &tt.spec
			rec := s.give(spec)
			result := s.finished(t, rec)
			if name == "privileged" && !allCapabilities(t) { // what we have not, the engine cannot give; that it tries is what counts
				if !strings.Contains(result.Reason, "unable to apply caps") {
					t.Errorf("got %s", result.Reason)
				}
				return
			}
			if got := states(result.Steps); got != "succeeded 0" {
				t.Errorf("got %s %s\n%s", got, result.Reason, said(s.logOf(t, rec, result.Log)))
			}
		})
	}
}

// allCapabilities says whether this process may have all capabilities of the kernel.
func allCapabilities(t *testing.T) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(status), fmt.Sprintf("CapBnd:\t%016x\n", uint64(1)<<(n+1)-1))
}

func TestFallback(t *testing.T) {
	t.Parallel()
	for name, containers := range map[string]bool{"no_engine": false, "engine": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			if containers {
				runContainers(t, s)
			} else {
				run(t, s)
			}
			spec := inImage(sh("if test -d /usr; then echo host; else echo container; fi"))
			spec.Fallback = "host"
			rec := s.give(spec)
			result := s.finished(t, rec)
			log := s.logOf(t, rec, result.Log)
			told := strings.Contains(text(log, "agent"), "the task runs on the host, as its fallback allows, instead of in "+enginetest.Busybox)
			if got := text(log, "stdout"); containers && (got != "container\n" || told) || !containers && (got != "host\n" || !told) {
				t.Errorf("got %q\n%s", got, said(log))
			}
		})
	}
}

func TestImagesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	_, e := runContainers(t, s)
	e.Image(t, "otto.test/bare:1", []enginetest.File{{Name: "/file", Mode: 0o644}})
	spec := inImage(sh("true"))
	spec.Image = "otto.test/bare:1"
	result := s.finished(t, s.give(spec))
	if !strings.HasPrefix(result.Reason, "start a container of otto.test/bare:1: it has no /bin/sh, which steps need") {
		t.Errorf("got %q", result.Reason)
	}
}
