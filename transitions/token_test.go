package transitions_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/ottoci/otto/db"
)

// An enrolment token makes one agent, and none once it is used, revoked or expired; other tokens make none at all.
func TestEnrolment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hash := byte(0)
	token := func(kind string, expires *time.Time) int64 {
		hash++
		return must[db.Token](t)(w.q.TokenCreate(w.ctx(), db.TokenCreateParams{
			Hash: append(make([]byte, 31), hash), Kind: kind, Role: map[string]string{"enrol": "enrol", "user": "admin"}[kind], Name: "n", ExpiresAt: expires, Actor: "t"})).ID
	}
	enrol := func(token int64) error {
		hash++
		_, err := w.q.AgentEnrol(w.ctx(), db.AgentEnrolParams{Enrol: token, Hash: append(make([]byte, 31), hash), Name: "a", Capacity: 1, Offers: json.RawMessage(`{}`), Actor: "t"})
		return err
	}
	revoke := func(token int64) error {
		_, err := w.q.TokenRevoke(w.ctx(), db.TokenRevokeParams{Token: token, Actor: "t"})
		return err
	}
	past := time.Now().Add(-time.Hour)
	used, revoked := token("enrol", nil), token("enrol", nil)
	for _, err := range []error{enrol(used), revoke(revoked)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, id := range map[string]int64{"used": used, "revoked": revoked, "expired": token("enrol", &past), "of_a_user": token("user", nil), "unknown": 999} {
		t.Run(name, func(t *testing.T) { wantRefusal(t, enrol(id), db.Forbidden, "cannot enrol") })
	}
	if n := w.count("select count(*) from agents"); n != 1 {
		t.Errorf("%d agents, want 1", n)
	}
	before := w.text("select revoked_at::text from tokens where id = $1", revoked)
	wantRefusal(t, revoke(revoked), db.Conflict, "is revoked: cannot revoke")
	wantRefusal(t, revoke(999), db.NotFound, "does not exist")
	if after := w.text("select revoked_at::text from tokens where id = $1", revoked); after != before {
		t.Errorf("revoked at %s, and again at %s", before, after)
	}
}

// Of requests sent together, those that somebody has sent before are left out.
func TestRequestsTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := func(keys ...string) (answered []string) {
		p := db.RequestsBeginParams{Keys: keys}
		for range keys {
			p.Principals, p.Requests = append(p.Principals, "p"), append(p.Requests, []byte("r"))
		}
		for _, row := range must[[]db.Idempotency](t)(w.q.RequestsBegin(w.ctx(), p)) {
			answered = append(answered, row.Key)
		}
		return answered
	}
	if got := begin("a", "b", "b"); len(got) != 2 {
		t.Errorf("begun are %v, want a and b", got)
	}
	if got := begin("c", "a"); len(got) != 1 || got[0] != "c" {
		t.Errorf("then begun are %v, want c", got)
	}
}
