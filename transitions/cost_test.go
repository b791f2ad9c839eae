package transitions_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db"
)

// BenchmarkTransitions prints the CPU time that Postgres spends on a task's way through a one-task run, for each transition
// and for several sizes of a batch. CPU time, not wall time: that is what a busy machine leaves comparable.
func BenchmarkTransitions(b *testing.B) {
	for _, size := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("batch=%d", size), func(b *testing.B) {
			w := newWorld(b)
			c := newCosts(w)
			agent, plan := w.agent(`{}`), w.plan("stages: [{stage: a, steps: [{sh: a}]}]")
			c.round(agent, plan, size)
			clear(c.spent)
			n := 0
			for b.Loop() {
				c.round(agent, plan, size)
				n += size
			}
			total := time.Duration(0)
			for name, spent := range c.spent {
				b.ReportMetric(float64(spent.Microseconds())/float64(n), name+"-µs/task")
				total += spent
			}
			b.ReportMetric(float64(total.Microseconds())/float64(n), "µs/task")
		})
	}
}

type costs struct {
	*world
	conn  *pgx.Conn
	spent map[string]time.Duration
}

// newCosts opens a session like those of a server.
func newCosts(w *world) *costs {
	pool := must[*pgxpool.Pool](w.t)(db.Open(w.ctx(), db.Config{URL: w.db.URL, MaxConns: 1}))
	conn := must[*pgxpool.Conn](w.t)(pool.Acquire(w.ctx()))
	w.t.Cleanup(func() {
		conn.Release()
		pool.Close()
	})
	return &costs{world: w, spent: map[string]time.Duration{}, conn: conn.Conn()}
}

// round takes tasks from their creation to their end.
func (c *costs) round(agent int64, plan string, size int) {
	var wanted, started, finished []map[string]any
	for range size {
		wanted = append(wanted, map[string]any{"project": "p", "plan": plan, "actor": "bench"})
	}
	c.call("create", "select id from otto.runs_create($1)", encoded(c.t, wanted))
	slots := make([]int64, size)
	for i := range slots {
		slots[i] = agent
	}
	leases := c.call("lease", "select id from otto.task_lease($1, 'server')", slots)
	for _, id := range leases {
		report := map[string]any{"lease": uuid.UUID(id.([16]byte)), "epoch": 1, "agent": agent, "actor": "agent"}
		begun, ended := map[string]any{"steps": []stepReport{{0, "running"}}}, map[string]any{"exit_code": 0, "steps": []stepReport{{0, "succeeded"}}, "log": map[string]any{"chunks": 0, "bytes": 0}}
		for k, v := range report {
			begun[k], ended[k] = v, v
		}
		started, finished = append(started, begun), append(finished, ended)
	}
	if n := len(c.call("start", "select id from otto.tasks_start($1)", encoded(c.t, started))); n != size {
		c.t.Fatalf("%d of %d started", n, size)
	}
	if n := len(c.call("finish", "select id from otto.tasks_finish($1)", encoded(c.t, finished))); n != size {
		c.t.Fatalf("%d of %d finished", n, size)
	}
}

type stepReport struct {
	Index int    `json:"index"`
	State string `json:"state"`
}

func encoded(t testing.TB, v any) []byte { return must[[]byte](t)(json.Marshal(v)) }

func (c *costs) call(name, query string, args ...any) []any {
	before := c.cpu()
	rows := must[pgx.Rows](c.t)(c.conn.Query(c.ctx(), query, args...))
	ids := must[[]any](c.t)(pgx.CollectRows(rows, func(r pgx.CollectableRow) (any, error) {
		values, err := r.Values()
		return values[0], err
	}))
	c.spent[name] += c.cpu() - before
	return ids
}

// cpu is what the connection's own server process has used.
func (c *costs) cpu() time.Duration {
	stat := must[[]byte](c.t)(os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", c.conn.PgConn().PID())))
	return time.Duration(must[int64](c.t)(strconv.ParseInt(strings.Fields(string(stat))[0], 10, 64)))
}
