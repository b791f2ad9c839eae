package agent_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ottoci/otto/agent"
)

// Whatever keeps the server from taking the log, a step that writes much ends without it; the log arrives whole afterwards.
func TestStepGoesOnWithoutTheServer(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]fault{"cut": drop, "failing": fail, "frozen": hang} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			var away atomic.Bool
			away.Store(true)
			s.fault = func(op string, _ int) fault { return map[bool]fault{true: f}[op == "log" && away.Load()] }
			run(t, s)
			rec := s.give(steps(sh("head -c 24000000 /dev/zero | tr '\\0' x")))
			s.wait(t, "the result", func() bool { return rec.finish != nil })
			away.Store(false)
			s.CloseClientConnections()
			if got := len(text(s.logOf(t, rec, s.finished(t, rec).Log), "stdout")); got != 24_000_000 {
				t.Errorf("got %d bytes", got)
			}
		})
	}
}

// Requests of many chunks that are lost, or whose answers are, or that come twice, change nothing.
func TestLogInRequestsOfManyChunks(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.fault = func(op string, n int) fault {
		return map[bool]fault{true: []fault{drop, dropAnswer, twice, fail, none}[n%5]}[op == "log"]
	}
	run(t, s, func(c *agent.Config) { c.Capacity = 3 })
	var records []*record
	for range 3 {
		records = append(records, s.give(steps(sh("seq 1000000"))))
	}
	for _, rec := range records {
		log := text(s.logOf(t, rec, s.finished(t, rec).Log), "stdout")
		if !strings.HasPrefix(log, "1\n2\n3\n") || !strings.HasSuffix(log, "\n999999\n1000000\n") || len(log) != 6_888_896 {
			t.Errorf("got %d bytes", len(log))
		}
	}
}
