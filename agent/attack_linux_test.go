package agent_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ottoci/otto/agent"
	"github.com/ottoci/otto/agent/isolation"
	"github.com/ottoci/otto/client"
)

// What steps try at the levels that have to hold it back. Each script ends with 0 if it got away with nothing.
func TestAttacks(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	secret := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(secret, []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	attacks := []struct {
		name   string
		from   isolation.Level
		script string
	}{
		{"S32_memory_and_environment", isolation.S1, fmt.Sprintf(`! cat /proc/%[1]d/environ && ! head -c1 /proc/%[1]d/mem && ! kill -0 %[1]d && ! ls /proc/%[1]d/fd/`, pid)},
		{"S32_no_canary_anywhere", isolation.S1, `! cat /proc/*/environ 2>/dev/null | grep -a otto_agent_secret`},
		{"credential", isolation.S1, `! cat ` + secret},
		{"X1_setuid", isolation.S1, `cp /bin/sh own && chmod u+s own && grep -q "NoNewPrivs:	1" /proc/self/status && grep -q "CapEff:	0000000000000000" /proc/self/status`},
		{"X1_mount", isolation.S1, `! mount -t tmpfs x /mnt`},
		{"X1_mknod", isolation.S1, `! mknod disk b 8 0`},
		{"X1_chroot", isolation.S1, `! chroot . /bin/true`},
		{"X1_write_machine", isolation.S1, `! touch /etc/x && ! touch /usr/x && ! sh -c 'echo h >/proc/sysrq-trigger' && ! mkdir /sys/fs/cgroup/x && ! sh -c 'echo 1 >/proc/sys/kernel/panic'`},
		{"X1_unshare", isolation.S2, `! unshare -Ur true && ! unshare -r -n true`},
		{"X8_pids", isolation.S2, `test "$(ls -d /proc/[0-9]* | wc -l)" -lt 12`},
		{"X10_environment_of_process_1", isolation.S2, `test "$(tr '\0' '\n' </proc/1/environ | wc -c)" = 0`},
		{"X10_descriptors", isolation.S1, `set -- /proc/$$/fd/*; for f; do case ${f##*/} in [0-9]|255) ;; *) exit 9;; esac; done`},
		{"homes_and_run", isolation.S2, `test -z "$(ls -A /root)" && test -z "$(ls -A /home)" && ! ls -d /run/otto/users`},
		{"S15_agent_port", isolation.S3, `! timeout 5 bash -c '</dev/tcp/127.0.0.1/` + port + `'`},
		{"S15_metadata", isolation.S3, `! timeout 5 bash -c '</dev/tcp/169.254.169.254/80'`},
		{"S15_by_proxy", isolation.S3, `exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n' >&3; read -r line <&3; case $line in *403*) ;; *) exit 9;; esac`},
		{"S15_proxy_to_agent", isolation.S3, `exec 3<>/dev/tcp/127.0.0.1/3128; printf 'GET http://127.0.0.1:` + port + `/ HTTP/1.1\r\nHost: x\r\n\r\n' >&3; read -r line <&3; case $line in *403*) ;; *) exit 9;; esac`},
		{"S15_interfaces", isolation.S3, `test "$(tail -n +3 /proc/net/dev | wc -l)" = 1`},
	}
	for level := isolation.S1; level <= isolation.S3; level++ {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			needs(t, level)
			s := newServer(t)
			run(t, s, at(level), func(c *agent.Config) { c.Capacity = 2 })
			for _, a := range attacks {
				if a.from > level {
					continue
				}
				t.Run(a.name, func(t *testing.T) {
					step := sh(a.script)
					step.Shell = []string{"bash", "-e"}
					rec := s.give(steps(step))
					result := s.finished(t, rec)
					if got := states(result.Steps); got != "succeeded 0" {
						t.Errorf("%s\n%s", got, text(s.logOf(t, rec, result.Log), "stderr"))
					}
				})
			}
		})
	}
}

// S14: what a task leaves on the machine, the next one does not find.
func TestTasksLeaveNothing(t *testing.T) {
	t.Parallel()
	for level := isolation.S1; level <= isolation.S3; level++ {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			needs(t, level)
			s := newServer(t)
			run(t, s, at(level))
			left := s.finished(t, s.give(steps(sh(`
				(setsid sh -c 'trap "" TERM HUP; while :; do sleep 1; : evil-daemon-`+level.String()+`; done' >/dev/null 2>&1 &)
				echo evil >>"$HOME/.bashrc"; echo evil >/tmp/evil; echo evil >/var/tmp/evil; echo evil >/dev/shm/evil
				mkdir -p closed/below && touch closed/below/f && chmod 0 closed`))))
			if got := states(left.Steps); got != "succeeded 0" {
				t.Fatal(got)
			}
			found := s.finished(t, s.give(steps(sh(`! ls "$HOME/.bashrc" /tmp/evil /var/tmp/evil /dev/shm/evil
				! grep -la 'evil-[d]aemon-`+level.String()+`' /proc/[0-9]*/cmdline 2>/dev/null | grep -v -e "/$$/" -e self`))))
			if got := states(found.Steps); got != "succeeded 0" {
				t.Error(got)
			}
		})
	}
}

// X2, X3, X12 and the other limits: only the task ends, and says for what.
func TestLimitsSayWhatTheyEnded(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		limits client.Limits
		script string
		want   string
	}{
		"X3_memory":   {client.Limits{Memory: 64 << 20}, `head -c 300000000 /dev/zero | tail -c 290000000 >/dev/null`, isolation.BrokeMemory},
		"X2_forkbomb": {client.Limits{Processes: 30}, `for i in $(seq 100); do sleep 60 & done; wait`, isolation.BrokeProcesses},
		"disk":        {client.Limits{Disk: 4 << 20}, `i=0; while :; do head -c 1000000 /dev/zero >f$i; i=$((i+1)); sleep 0.1; done`, isolation.BrokeDisk},
		"output":      {client.Limits{Output: 10000}, `while :; do echo more and more; done`, isolation.BrokeOutput},
	} {
		for _, level := range []isolation.Level{isolation.S1, isolation.S2} {
			t.Run(name+"_"+level.String(), func(t *testing.T) {
				t.Parallel()
				needs(t, level)
				s := newServer(t)
				run(t, s, at(level))
				spec := steps(sh(x.script))
				spec.Limits = &x.limits
				rec := s.give(spec)
				got := s.finished(t, rec).Steps[0]
				if got.State != client.Failed || got.Reason != x.want {
					t.Errorf("got %s %q, want %q", got.State, got.Reason, x.want)
				}
				if after := states(s.finished(t, s.give(steps(sh("true")))).Steps); after != "succeeded 0" {
					t.Errorf("the agent is not well afterwards: %s", after)
				}
			})
		}
	}
}

// X5: an agent that is killed takes its tasks along, and its next start removes what they had of the machine.
func TestKilledAgentIsSweptUp(t *testing.T) {
	t.Parallel()
	for level := isolation.S1; level <= isolation.S3; level++ {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			needs(t, level)
			s := newServer(t)
			cfg := config(t, s)
			at(level)(&cfg)
			cmd := startProcess(t, cfg)
			token := fmt.Sprint(8640000 + int(level)*100000 + os.Getpid()) // seconds that nobody else sleeps
			s.give(steps(sh(`trap '' TERM HUP; (setsid sleep ` + token + ` &); sleep ` + token)))
			waitFor(t, "the step to begin", func() bool { return sleeping(token) })
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the step to be gone", func() bool { return !sleeping(token) })
			run(t, s, func(c *agent.Config) { c.WorkDir = cfg.WorkDir }, at(level))
			if got := states(s.finished(t, s.give(steps(sh("true")))).Steps); got != "succeeded 0" {
				t.Error(got)
			}
		})
	}
}

// waitFor waits for something to become true.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// sleeping says whether a process sleeps for so many seconds.
func sleeping(seconds string) bool {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && string(line) == "sleep\x00"+seconds+"\x00" {
			return true
		}
	}
	return false
}

// The kill census, in short, or with as many tasks as OTTO_CENSUS says: tasks that fork, daemonise and ignore signals leave no process, cgroup, mount or directory.
func TestKillCensus(t *testing.T) {
	t.Parallel()
	needs(t, isolation.S1)
	const evil = `trap '' TERM HUP
		for i in 1 2 3; do (setsid sh -c 'trap "" TERM; (sleep 97531 &) ; sleep 97531' >/dev/null 2>&1 &); done
		sleep 97531 & `
	s := newServer(t)
	f := run(t, s, at(isolation.S1), func(c *agent.Config) { c.Capacity = 8 })
	count := 40
	if n, err := strconv.Atoi(os.Getenv("OTTO_CENSUS")); err == nil {
		count = n
	}
	recs := make([]*record, 0, count)
	for i := range count {
		spec := steps(sh(evil + map[int]string{0: "exit 0", 1: "exit 1", 2: "wait", 3: "kill -9 $$"}[i%4]))
		spec.TimeoutMS = 1000
		spec.Isolation = i % 4
		recs = append(recs, s.give(spec))
	}
	for _, rec := range recs {
		s.finished(t, rec)
	}
	if sleeping("97531") {
		t.Error("a process is left")
	}
	f.Stop()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), isolation.Home+" ") {
		t.Errorf("a mount is left (%v)", err)
	}
}
