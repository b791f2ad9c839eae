package jobs

import (
	"testing"

	"github.com/ottoci/otto/db"
)

// Where no orchestrator asks any more, jobs close auctions and take awards away in time, whatever becomes of the job table; and a task
// that nobody could ever run is given up.
func TestAuctionJobs(t *testing.T) {
	t.Parallel()
	p := newPlant(t)
	p.exec("update cluster set auction_window = '100 milliseconds', award_within = '1 second'")
	p.exec("insert into orchestrators (name, enrolled_at, seen_at) values ('o', now(), now())")
	p.exec(`insert into templates (orchestrator_id, name, offers, price, start_ms, instances) select id, 't', '{"os": "linux"}', 1, 0, 9 from orchestrators`)
	run := p.run(p.source(map[string]string{"Ottofile.yaml": "stages: [{stage: s, requires: {os: linux}, steps: [{sh: a}]}]"}), "")
	var auction, task, orchestrator int64
	p.eventually("an auction opens", func() bool { // the reconciler opens it, too
		if _, err := p.q.AuctionOpen(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		return p.count("select count(*) from auctions where run_id = $1", run) > 0
	})
	// One more is opened where the bid came too late.
	p.eventually("a bid is placed", func() bool {
		if _, err := p.q.AuctionOpen(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		err := p.db.Owner.QueryRow(t.Context(), "select auction_id, task_id, (select id from orchestrators) from auction_tasks order by auction_id desc limit 1").Scan(&auction, &task, &orchestrator)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.q.BidPlace(t.Context(), db.BidPlaceParams{Auction: auction, Task: task, Orchestrator: orchestrator, Template: "t", Actor: "t"})
		return err == nil
	})
	p.exec("truncate river.river_job")
	p.eventually("the bid wins", func() bool { return p.count("select count(*) from awards where auction_id = $1", auction) == 1 })
	p.exec("truncate river.river_job")
	p.eventually("the award is late", func() bool { return p.count("select count(*) from awards where end_reason = 'late'") == 1 })

	p.exec("update orchestrators set state = 'offline'")
	p.exec("update cluster set queue_timeout = '1 second'")
	p.eventually("the task is given up", func() bool {
		r := p.state(run)
		return r.State == "failed" && p.count("select count(*) from tasks where run_id = $1 and reason = 'no_capable_agent'", run) == 1
	})
}
