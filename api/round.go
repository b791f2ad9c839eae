package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/ottoci/otto/client"
	"github.com/ottoci/otto/db"
)

// round is one look at the database for the waiters: for all, or for those that no round has looked at yet.
func (d *dispatcher) round(ctx context.Context, everyone bool) error {
	free, turn := d.gather(everyone)
	if len(free) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, roundPatience)
	defer cancel()
	if err := d.look(ctx, free, turn); err != nil {
		d.missed(free)
		return err
	}
	d.settle(free, turn)
	return nil
}

// firstLook is how many agents, drawn by lot, are looked at first. Of a large fleet one of them can mostly take what there is:
// to look at 5,000 at once would cost a task that just became ready some 30 ms.
const firstLook = 100

// look finds what there is for agents with so many free slots, and tells them.
func (d *dispatcher) look(ctx context.Context, free map[int64]int, turn int) error {
	agents := slices.Collect(maps.Keys(free))
	rand.Shuffle(len(agents), func(i, j int) { agents[i], agents[j] = agents[j], agents[i] })
	first := min(firstLook, len(agents))
	for _, part := range [][]int64{agents[:first], agents[first:]} {
		if len(part) == 0 {
			continue
		}
		if err := d.lookFor(ctx, part, free, turn); err != nil {
			return err
		}
	}
	return nil
}

func (d *dispatcher) lookFor(ctx context.Context, some []int64, free map[int64]int, turn int) error {
	agents, err := d.api.agents.AgentsWaiting(ctx, some)
	if err != nil {
		return fmt.Errorf("read waiting agents: %w", err)
	}
	answers := map[int64]*client.LeaseAnswer{}
	if err := d.catchUp(ctx, agents, answers); err != nil {
		return err
	}
	d.deliver(answers, look{})
	groups, err := d.groups(ctx, agents, free)
	if err != nil {
		return err
	}
	// Side by side: which of them can take what there is, nobody knows beforehand, and no task should wait for those who cannot.
	var claims errgroup.Group
	claims.SetLimit(fewKinds)
	for _, group := range groups {
		claims.Go(func() error { return d.claim(ctx, group, turn) })
	}
	return claims.Wait()
}

// gather lists the waiters to look for, with their free slots, and says after how many wake-ups.
func (d *dispatcher) gather(everyone bool) (free map[int64]int, turn int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	free = map[int64]int{}
	for agent, w := range d.waiters {
		if everyone || w.fresh {
			free[agent] = w.free
		}
		w.fresh = false
	}
	return free, d.turn
}

// settle notes that nothing was found for those that still wait. Those that were answered may wait again already, for less.
func (d *dispatcher) settle(free map[int64]int, turn int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for agent, n := range free {
		if w := d.waiters[agent]; w != nil && !w.fresh {
			d.looked[agent] = glance{turn, min(n, w.free), now}
		} else if d.looked[agent].turn != turn {
			delete(d.looked, agent)
		}
	}
}

// missed lets the next round look at the same waiters again.
func (d *dispatcher) missed(free map[int64]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for agent := range free {
		if w := d.waiters[agent]; w != nil {
			w.fresh = true
		}
	}
}

// catchUp adds what the agents should know already: orders, and grants that they have not begun.
func (d *dispatcher) catchUp(ctx context.Context, agents []db.AgentsWaitingRow, answers map[int64]*client.LeaseAnswer) error {
	var ordered, unstarted []int64
	for _, a := range agents {
		if a.Ordered {
			ordered = append(ordered, a.ID)
		}
		if a.Unstarted {
			unstarted = append(unstarted, a.ID)
		}
	}
	if err := d.orders(ctx, ordered, answers); err != nil {
		return err
	}
	return d.regrant(ctx, unstarted, answers)
}

// orders adds the orders that agents have not been told of.
func (d *dispatcher) orders(ctx context.Context, agents []int64, answers map[int64]*client.LeaseAnswer) error {
	if len(agents) == 0 {
		return nil
	}
	orders, err := d.api.agents.LeaseAborts(ctx, agents)
	if err != nil {
		return fmt.Errorf("read orders: %w", err)
	}
	for _, o := range orders {
		if d.isDue(news{o.ID, o.Level}, true) {
			answer := answerTo(answers, o.AgentID)
			answer.Aborts = append(answer.Aborts, client.Abort{Lease: o.ID.String(), Level: o.Level, Reason: o.Reason})
		}
	}
	return nil
}

// regrant adds the grants that agents may not have heard of.
func (d *dispatcher) regrant(ctx context.Context, agents []int64, answers map[int64]*client.LeaseAnswer) error {
	if len(agents) == 0 {
		return nil
	}
	unstarted, err := d.api.agents.LeasesUnstarted(ctx, agents)
	if err != nil {
		return fmt.Errorf("read grants: %w", err)
	}
	var again []uuid.UUID
	for _, l := range unstarted {
		if d.isDue(news{lease: l.ID}, l.Settled) {
			again = append(again, l.ID)
		}
	}
	if len(again) == 0 {
		return nil
	}
	return d.grants(ctx, again, answers)
}

// isDue says whether an agent is to be told: it was not told yet, or the answer was lost, or it has had time enough to
// act. What this process knows nothing of is due only if it is settled: another node may just be answering.
func (d *dispatcher) isDue(n news, settled bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, known := d.told[n]
	if !known {
		return settled
	}
	return t.lost || time.Since(t.at) > tellAgain
}

// grants reads what agents must know of their leases.
func (d *dispatcher) grants(ctx context.Context, leases []uuid.UUID, answers map[int64]*client.LeaseAnswer) error {
	rows, err := d.api.agents.LeaseGrants(ctx, leases)
	if err != nil {
		return fmt.Errorf("read granted leases: %w", err)
	}
	for _, row := range rows {
		d.grant(ctx, row, answers)
	}
	return nil
}

// grant adds a lease to its agent's answer.
func (d *dispatcher) grant(ctx context.Context, row db.LeaseGrantsRow, answers map[int64]*client.LeaseAnswer) {
	lease, err := encodeLease(row)
	if err != nil {
		d.quarantine(ctx, row, err)
		return
	}
	answer := answerTo(answers, row.AgentID)
	answer.Leases = append(answer.Leases, lease)
	d.api.metrics.granted.Inc()
}

// quarantine parks a task that cannot be read, so that the others flow on.
func (d *dispatcher) quarantine(ctx context.Context, row db.LeaseGrantsRow, why error) {
	reason := fmt.Sprintf("its plan cannot be read: %s", why)
	_, err := d.api.agents.TaskQuarantine(ctx, db.TaskQuarantineParams{Task: row.TaskID, Actor: "server:" + d.api.cfg.Name, Reason: reason})
	d.api.wake.Wake(db.TopicReady, db.TopicAbort, db.TopicEvent)
	if err != nil {
		d.api.log.ErrorContext(ctx, "task was not quarantined", "task", row.TaskID, "reason", reason, "error", err)
		return
	}
	d.api.metrics.transition("task_quarantine")
	d.api.log.ErrorContext(ctx, "task was quarantined", "task", row.TaskID, "run", row.RunID, "reason", reason)
}

// look says after how many wake-ups the database was looked at, and whether everything was found that there was for agents.
type look struct {
	turn int
	all  bool
}

// deliver answers the waiters. For those that have left meanwhile, the answer is lost. An agent that got all that there was, or
// as much as it has room for, asks again at once; nobody need look again for that request, as long as nothing has happened.
func (d *dispatcher) deliver(answers map[int64]*client.LeaseAnswer, at look) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for agent, answer := range answers {
		w := d.waiters[agent]
		for _, n := range newsIn(*answer) {
			d.told[n] = telling{now, w == nil}
		}
		delete(d.looked, agent)
		if w == nil {
			continue
		}
		if left := w.free - len(answer.Leases); len(answer.Leases) > 0 && at.turn > 0 && (at.all || left <= 0) {
			d.looked[agent] = glance{at.turn, left, now}
		}
		delete(d.waiters, agent)
		w.answer <- *answer
	}
	d.sweep(now)
}

// sweep forgets now and then what nobody will ask for any more.
func (d *dispatcher) sweep(now time.Time) {
	if now.Sub(d.swept) < sweepEvery {
		return
	}
	d.swept = now
	maps.DeleteFunc(d.told, func(_ news, t telling) bool { return now.Sub(t.at) > forgetTold })
	maps.DeleteFunc(d.warm, func(_ int64, w warmth) bool { return now.Sub(w.at) > staysWarm })
	maps.DeleteFunc(d.looked, func(_ int64, g glance) bool { return now.Sub(g.at) > forgetTold })
}

func answerTo(answers map[int64]*client.LeaseAnswer, agent int64) *client.LeaseAnswer {
	if answers[agent] == nil {
		answer := noWork()
		answers[agent] = &answer
	}
	return answers[agent]
}

func encodeLease(row db.LeaseGrantsRow) (client.Lease, error) {
	lease := client.Lease{
		ID: row.ID.String(), Epoch: int(row.Epoch), Task: row.TaskID, Run: row.RunID, RunID: row.RunUuid.String(),
		Project: row.Project, Stage: row.Stage,
	}
	if err := json.Unmarshal(row.Spec, &lease.Spec); err != nil {
		return lease, err
	}
	if err := settle(&lease.Spec, row.Spec, row.Decided); err != nil {
		return lease, err
	}
	if lease.Spec.TimeoutMS <= 0 {
		return lease, errors.New("it has no timeout")
	}
	if row.Repository != "" {
		lease.Checkout = &client.Checkout{Repository: row.Repository, Ref: row.Ref, Commit: row.CommitSha}
	}
	if row.SourceDigest != "" {
		lease.Source = &client.SourceRef{Digest: row.SourceDigest, Bytes: row.SourceBytes}
	}
	return lease, nil
}
