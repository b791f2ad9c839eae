package transitions_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/ottoci/otto/db"
)

// A heartbeat renews what its agent holds, and neither what another agent holds nor what is over.
func TestHeartbeatRenewsItsOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	mine, other := w.agent(`{}`), w.agent(`{}`)
	w.run(parallel)
	over, held := w.leaseOne(mine), w.leaseOne(mine)
	w.finish(over, "succeeded")
	for agent, want := range map[int64]int{mine: 1, other: 0} {
		w.exec("update leases set expires_at = otto.clock()")
		renewed := must[[]db.Lease](t)(w.q.LeaseRenew(w.ctx(), db.LeaseRenewParams{Agent: agent, Held: []uuid.UUID{over.ID, held.ID}}))
		if len(renewed) != want || want == 1 && renewed[0].ID != held.ID {
			t.Errorf("agent %d renewed %d leases, want %d", agent, len(renewed), want)
		}
		if longer := w.count("select count(*) from leases where expires_at > otto.clock()"); longer != want {
			t.Errorf("%d leases live longer by the heartbeat of agent %d, want %d", longer, agent, want)
		}
	}
}
