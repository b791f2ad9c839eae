package transitions_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ottoci/otto/db"
)

// An enrolment token of an orchestrator works once, and for nothing else; and what it offers is what it said last.
func TestOrchestratorEnrols(t *testing.T) {
	t.Parallel()
	m := newMarket(t, 0)
	token := func(role string) int64 {
		t.Helper()
		return must[db.Token](t)(m.q.TokenCreate(m.ctx(), db.TokenCreateParams{Hash: newHash(), Kind: "enrol", Role: role, Name: "e", Actor: "t"})).ID
	}
	enrol := func(token int64) error {
		_, err := m.q.OrchestratorEnrol(m.ctx(), db.OrchestratorEnrolParams{Enrol: token, Hash: newHash(), Name: "X", Templates: json.RawMessage("[" + template("x", four, 1, 1) + "]"), Actor: "t"})
		return err
	}
	once, revoked := token("enrol-orchestrator"), token("enrol-orchestrator")
	must[db.Token](t)(m.q.TokenRevoke(m.ctx(), db.TokenRevokeParams{Token: revoked, Actor: "t"}))
	if err := enrol(once); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []int64{once, revoked, token("enrol")} {
		wantRefusal(t, enrol(bad), db.Forbidden, "is used, revoked or expired, or not for an orchestrator: cannot enrol")
	}
	_, err := m.enrol(token("enrol-orchestrator"), four)
	wantRefusal(t, err, db.Forbidden, "cannot enrol")

	x := int64(m.count("select id from orchestrators"))
	hello := func(templates string) {
		t.Helper()
		must[db.Orchestrator](t)(m.q.OrchestratorHello(m.ctx(), db.OrchestratorHelloParams{Orchestrator: x, Name: "X", Templates: json.RawMessage(templates), Actor: "t"}))
	}
	hello("[" + template("x", four, 2, 7) + "," + template("z", four, 3, 1) + "]")
	hello("[" + template("x", four, 2, 7) + "]")
	if got := m.text("select string_agg(template || ' ' || price::float || ' ' || instances, ',') from otto_api.templates"); got != "x 2 7" {
		t.Errorf("it offers %s", got)
	}
	y := m.orchestrator("Y", template("y", four, 1, 1))
	_, err = m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: y, Template: "x", Hash: newHash(), Actor: "t"})
	wantRefusal(t, err, db.NotFound, "orchestrator Y offers no template x")

	// Two that want the last instance at once: one gets it.
	r := m.rival()
	must[db.Token](t)(r.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: y, Template: "y", Hash: newHash(), Actor: "t"}))
	wantRefusal(t, r.meet(func() error {
		_, err := m.q.EnrolmentCreate(m.ctx(), db.EnrolmentCreateParams{Orchestrator: y, Template: "y", Hash: newHash(), Actor: "t"})
		return err
	}), db.Conflict, "template y has all its 1 instances")
}

// An award that is late is not taken any more, though nobody has taken it away yet; and what does not fit keeps no task from being given up.
func TestAwardIsLate(t *testing.T) {
	t.Parallel()
	m, x, run, task, award := won(t)
	m.advance(time.Minute)
	_, err := m.take(award, x)
	wantRefusal(t, err, db.Conflict, "is late: cannot take")
	must[db.Award](t)(m.q.AwardExpire(m.ctx(), db.AwardExpireParams{Award: award, Actor: "t"}))
	m.agent(`{"cores": 1}`)
	must[db.Orchestrator](t)(m.q.OrchestratorHello(m.ctx(), db.OrchestratorHelloParams{
		Orchestrator: x, Name: "X", Templates: json.RawMessage("[" + template("x", `{"cores": 1}`, 1, 5) + "]"), Actor: "t"}))
	m.advance(25 * time.Hour)
	must[db.Task](t)(m.q.TaskStarve(m.ctx(), db.TaskStarveParams{Task: task, Actor: "t"}))
	m.want(run, "failed: failed[s=failed]")
}
