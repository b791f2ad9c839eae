package transitions_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// The app role can call transitions and read. It cannot write a state, an event or a job by itself.
func TestAppCannotWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, statement := range []string{
		"update runs set state = 'succeeded'", "update stages set state = 'succeeded'", "update tasks set state = 'ready'",
		"update leases set expires_at = now()", "update steps set state = 'failed'", "insert into events (at, kind, actor) values (now(), 'x', 'x')",
		"delete from events", "delete from tokens", "update tokens set role = 'admin'", "update cluster set lease_ttl = '1 hour'",
		"create table mine (id int)", "select otto.emit('x', 'x', null)",
		"set search_path = public, otto; select otto.stages_settle(array[row(1, 1, 4, false, 'x')::otto.settled])", "set search_path = public, otto; select otto.tasks_ready('{}')",
		"set search_path = public, otto; select otto.leases_end('{}', 'finished')",
	} {
		if _, err := w.db.App.Exec(w.ctx(), statement); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: got %v, want permission denied", statement, err)
		}
	}
}

// Every function of schema otto is plpgsql (language sql is planned anew at each call, unless it is an immutable expression,
// which becomes a part of its caller) and under 40 lines. Those that are
// called from outside run with the owner's rights and a pinned search path; what they call inside has neither, so the
// app role can do nothing with it.
func TestFunctionConventions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rows := must[pgx.Rows](t)(w.db.Owner.Query(w.ctx(), `select p.proname, case when p.provolatile = 'i' and l.lanname = 'sql' then 'plpgsql' else l.lanname end, p.prosecdef, coalesce(array_to_string(p.proconfig, ' '), ''), p.prosrc
		from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace = 'otto'::regnamespace order by 1`))
	n := 0
	for rows.Next() {
		var name, language, config, source string
		var definer bool
		if err := rows.Scan(&name, &language, &definer, &config, &source); err != nil {
			t.Fatal(err)
		}
		n++
		lines := strings.Count(source, "\n")
		if language != "plpgsql" || lines > 40 {
			t.Errorf("%s: language %s, %d lines", name, language, lines)
		}
		if definer && strings.TrimSuffix(config, " lock_timeout=500ms") != "search_path=public, otto, pg_temp" {
			t.Errorf("%s runs as its owner with %q", name, config)
		}
		if strings.Contains(source, "execute format") && !strings.HasPrefix(name, "partition_") {
			t.Errorf("%s builds statements", name)
		}
		for _, loop := range []string{" loop\n", "\tloop\n"} {
			if strings.Contains(source, loop) && !strings.HasPrefix(name, "partition_") {
				t.Errorf("%s loops", name)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d functions found", n)
	}
}

// Every view of an operator answers, empty and filled.
func TestViews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	read := func() {
		t.Helper()
		for _, view := range []string{"runs", "tasks", "waiting", "groups", "leases", "agents", "queue_depth", "pools", "slowest", "events", "servers", "orchestrators", "templates", "auctions", "bids", "awards"} {
			if _, err := w.db.App.Exec(w.ctx(), "select * from otto_api."+view); err != nil {
				t.Errorf("%s: %v", view, err)
			}
		}
	}
	read()
	agent := w.agent(`{}`)
	w.run(three)
	w.leaseOne(agent)
	w.run(parallel)
	(&market{w}).orchestrator("X", template("x", "{}", 1, 1))
	read()
	if n := w.count("select count(*) from otto_api.waiting"); n != 5 {
		t.Errorf("%d tasks wait, want 5", n)
	}
}
