package transitions_test

import (
	"encoding/json"
	"testing"

	"github.com/ottoci/otto/db"
)

// pools tries every move of a pool from every state that it can be in towards a project.
func (m *matrix) pools() {
	m.exec("insert into projects (name, created_at) values ('p', now()) on conflict do nothing")
	for _, move := range []struct {
		name string
		call func() error
	}{
		{"pool_create", func() error { return m.poolCreate("x") }},
		{"pool_allow", func() error { return m.poolAllow("x", "p") }},
		{"pool_deny", func() error { return m.poolDeny("x", "p") }},
	} {
		for _, from := range []string{"–", "open", "restricted", "allowed"} {
			m.exec("delete from pools where name = 'x'")
			m.exec("insert into pools (name, restricted, created_at) select 'x', $1 <> 'open', now() where $1 <> '–'", from)
			m.exec("insert into pool_projects select 'x', id from projects where name = 'p' and $1 = 'allowed'", from)
			m.exec("delete from events")
			m.write(move.name, "pool", from, subject{}, move.call(),
				`select coalesce((select case when not p.restricted then 'open' when exists (select from pool_projects where pool = 'x') then 'allowed' else 'restricted' end
				   from pools p where p.name = 'x' and $1 = 0), '–')`, 0)
		}
	}
	m.exec("delete from pools where name = 'x'")
}

func (w *world) poolCreate(pool string) error {
	_, err := w.q.PoolCreate(w.ctx(), db.PoolCreateParams{Pool: pool, Restricted: true, Actor: "t"})
	return err
}

func (w *world) poolAllow(pool, project string) error {
	_, err := w.q.PoolAllow(w.ctx(), db.PoolAllowParams{Pool: pool, Project: project, Actor: "t"})
	return err
}

func (w *world) poolDeny(pool, project string) error {
	_, err := w.q.PoolDeny(w.ctx(), db.PoolDenyParams{Pool: pool, Project: project, Actor: "t"})
	return err
}

// A restricted pool is for the projects that were allowed, until they are denied. A refusal changes nothing.
func TestPools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	must1 := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	users := func() string {
		return w.text("select coalesce(string_agg(a.pool || '=' || j.name, ' ' order by 1), '') from pool_projects a join projects j on j.id = a.project_id")
	}
	must1(w.poolCreate("gpu"))
	must1(w.poolCreate("mac"))
	wantRefusal(t, w.poolCreate("gpu"), db.Conflict, "pool gpu exists: cannot create")
	must1(w.poolAllow("gpu", "new"))
	must1(w.poolAllow("gpu", "other"))
	must1(w.poolAllow("mac", "new"))
	wantRefusal(t, w.poolAllow("gpu", "new"), db.Conflict, "project new may use pool gpu already: cannot allow")
	wantRefusal(t, w.poolAllow("default", "new"), db.Conflict, "pool default is open to all projects: cannot allow")
	wantRefusal(t, w.poolAllow("none", "new"), db.NotFound, "pool none does not exist")
	wantRefusal(t, w.poolDeny("default", "new"), db.Conflict, "pool default is open to all projects: cannot deny")
	wantRefusal(t, w.poolDeny("mac", "other"), db.Conflict, "project other may not use pool mac: cannot deny")
	wantRefusal(t, w.poolDeny("mac", "nobody"), db.Conflict, "project nobody may not use pool mac: cannot deny")
	must1(w.poolDeny("gpu", "new"))
	if got := users(); got != "gpu=other mac=new" {
		t.Errorf("the pools are for %s", got)
	}
	if got := w.text("select data::text from events where kind = 'pool.denied'"); got != `{"pool": "gpu", "project": "new"}` {
		t.Errorf("got %s", got)
	}
}

// An agent is in the pool of its enrolment token.
func TestPoolOfTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hash := byte(0)
	token := func(kind, role string, pool *string) (db.Token, error) {
		hash++
		return w.q.TokenCreate(w.ctx(), db.TokenCreateParams{Hash: append(make([]byte, 31), hash), Kind: kind, Role: role, Name: "n", Pool: pool, Actor: "t"})
	}
	gpu, none := "gpu", "none"
	if err := w.poolCreate(gpu); err != nil {
		t.Fatal(err)
	}
	for want, pool := range map[string]*string{"gpu": &gpu, "default": nil} {
		k := must[db.Token](t)(token("enrol", "enrol", pool))
		hash++
		a := must[db.Agent](t)(w.q.AgentEnrol(w.ctx(), db.AgentEnrolParams{Enrol: k.ID, Hash: append(make([]byte, 31), hash), Name: "a", Capacity: 1, Offers: json.RawMessage(`{}`), Actor: "t"}))
		if a.Pool != want {
			t.Errorf("the agent is in pool %s, want %s", a.Pool, want)
		}
	}
	_, err := token("enrol", "enrol", &none)
	wantRefusal(t, err, db.NotFound, "pool none does not exist")
	_, err = token("user", "admin", &gpu)
	wantRefusal(t, err, db.Conflict, "a token of role admin has no pool")
}
