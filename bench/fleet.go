package bench

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/migrations"
)

// crowd is an idle fleet that grows.
type crowd struct {
	*rig
	herds []*herd
	seen  chan sighting
	plan  string
}

// fleet measures what agents cost that wait for work, and how fast work finds them.
func (s *session) fleet(ctx context.Context) error {
	r, err := s.newRig(ctx, "fleet")
	if err != nil {
		return err
	}
	defer r.stop()
	c := &crowd{rig: r, seen: make(chan sighting, 1024)}
	defer func() {
		for _, h := range c.herds {
			h.stop()
		}
	}()
	if c.plan, err = r.plan(ctx, oneTask("", "true")); err != nil {
		return err
	}
	there := 0
	for _, agents := range s.size.fleets {
		if err := c.measure(ctx, there, agents); err != nil {
			return fmt.Errorf("%d agents: %w", agents, err)
		}
		there = agents
	}
	return nil
}

// calm is how long Otto looks about after it has worked.
const calm = 7 * time.Second

// measure lets the crowd grow and watches it.
func (c *crowd) measure(ctx context.Context, there, agents int) error {
	began := time.Now()
	h, err := c.newHerd(ctx, herdSize{agents - there, 1, ""}, func(s sighting) {
		if s.taken {
			c.seen <- s
		}
	})
	if err != nil {
		return err
	}
	c.herds = append(c.herds, h)
	name := fmt.Sprintf(", %d agents", agents)
	report := c.s.report
	report.add("fleet", fmt.Sprintf("enrolments, %d to %d agents", there, agents), "/s", samples{float64(agents-there) / time.Since(began).Seconds()})
	if _, err := c.wake(ctx, fewest); err != nil { // by now all wait
		return err
	}
	if !pause(ctx, calm) {
		return context.Cause(ctx)
	}
	if err := c.watch(ctx, name); err != nil {
		return err
	}
	woken, err := c.wake(ctx, c.s.size.samples)
	report.add("fleet", "wake-up: submit → task at an agent"+name, "ms", woken)
	return err
}

// watch measures what the crowd costs while nothing happens.
func (c *crowd) watch(ctx context.Context, name string) error {
	before, err := c.spent(ctx)
	if err != nil {
		return err
	}
	sent, err := c.sent(ctx)
	if err != nil {
		return err
	}
	if !pause(ctx, c.s.size.idle) { // not for something: this is the time that is looked at
		return context.Cause(ctx)
	}
	after, err := c.spent(ctx)
	if err != nil {
		return err
	}
	if err := c.tell(ctx, sent); err != nil {
		return err
	}
	used, seconds := after.since(before), after.At.Sub(before.At).Seconds()
	rss, _, err := memory(c.server.pid())
	if err != nil {
		return err
	}
	add := func(what, unit string, v float64) { c.s.report.add("fleet", what+name, unit, samples{v}) }
	add("queries", "/s", float64(used.Statements)/seconds)
	add("writing transactions", "/s", float64(used.Writes)/seconds)
	add("CPU of server", "% of a core", 100*used.server.Seconds()/seconds)
	add("CPU of Postgres", "% of a core", 100*used.postgres.Seconds()/seconds)
	add("memory of server", "MiB", float64(rss)/(1<<20))
	return nil
}

// sent is how often each statement was sent so far.
func (c *crowd) sent(ctx context.Context) (map[string]int64, error) {
	const query = `
select s.query, sum(s.calls)::bigint from pg_stat_statements s
 where s.toplevel and s.dbid = (select oid from pg_database where datname = $1) and s.userid in (select oid from pg_roles where rolname in ($2, $3)) group by 1`
	rows, err := c.s.pg.admin.Query(ctx, query, c.name, migrations.App, migrations.Owner)
	if err != nil {
		return nil, err
	}
	sent, text, calls := map[string]int64{}, "", int64(0)
	_, err = pgx.ForEachRow(rows, []any{&text, &calls}, func() error { sent[text] = calls; return nil })
	return sent, err
}

// tell logs what was sent while nothing happened: each of these costs every installation, day and night.
func (c *crowd) tell(ctx context.Context, before map[string]int64) error {
	after, err := c.sent(ctx)
	for text, calls := range after {
		if n := calls - before[text]; n > 0 {
			c.s.log.DebugContext(ctx, "statement of an idle fleet", "calls", n, "query", strings.Join(strings.Fields(text), " "))
		}
	}
	return err
}

// wake submits runs one by one, and measures when an agent has the task.
func (c *crowd) wake(ctx context.Context, most int) (took samples, err error) {
	for start := time.Now(); len(took) < most && (len(took) < fewest || time.Since(start) < c.s.size.patient.extra); {
		if err := c.alive(); err != nil {
			return took, err
		}
		began := time.Now()
		run, err := c.user(len(took)).RunCreate(ctx, client.RunCreate{Project: "bench", Plan: c.plan})
		if err != nil {
			return took, err
		}
		at, err := c.arrival(ctx, run.Run)
		if err != nil {
			return took, err
		}
		took = append(took, ms(at.Sub(began)))
		if err := c.over(ctx, run.Run); err != nil {
			return took, err
		}
	}
	return took, nil
}

// arrival is when an agent had the task of a run.
func (c *crowd) arrival(ctx context.Context, run int64) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, samplePatience, fmt.Errorf("no agent got the task of run %d", run))
	defer cancel()
	for {
		select {
		case s := <-c.seen:
			if s.lease.Run == run {
				return s.at, nil
			}
		case <-c.herds[len(c.herds)-1].ctx.Done():
			return time.Time{}, context.Cause(c.herds[len(c.herds)-1].ctx)
		case <-ctx.Done():
			return time.Time{}, context.Cause(ctx)
		}
	}
}
