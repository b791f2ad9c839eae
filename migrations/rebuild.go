package migrations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ottoci/otto/transitions"
)

// rebuildAttempts bounds how often a rebuild gives way to readers of the views it replaces.
const rebuildAttempts = 5

// emptySQL makes the two schemas anew. Readers of a view make the drop wait, and whoever comes later waits behind
// the drop: so it gives up early and tries again.
const emptySQL = `
set local search_path = public, otto, pg_temp;
set local statement_timeout = 0;
set local lock_timeout = '5s';
drop schema if exists otto_api cascade;
drop schema if exists otto cascade;
create schema otto;
create schema otto_api;
`

// grantSQL gives otto_app the functions, and reading. The migrations grant what else it may write. Only tables of
// otto_owner are meant: extensions may have put their own into schema public.
const grantSQL = `
grant usage on schema public, otto, otto_api, river to otto_app;
revoke all on all routines in schema otto, otto_api from public;
grant execute on all routines in schema otto, otto_api to otto_app;
do $$ begin
    execute (select 'grant select on ' || string_agg(oid::regclass::text, ', ') || ' to otto_app' from pg_class
              where relowner = 'otto_owner'::regrole and relkind in ('r', 'p', 'v', 'm') and not relispartition
                and relnamespace in ('public'::regnamespace, 'otto_api'::regnamespace));
end $$;
grant select, insert, update, delete on all tables in schema river to otto_app;
grant usage, select on all sequences in schema river to otto_app;
`

// dependantsSQL names what outside the two schemas leans on something inside: the cascade would take it along.
const dependantsSQL = `
with inside as (
    select oid from pg_namespace where nspname in ('otto', 'otto_api')
), things as (
    select 'pg_proc'::regclass as class, oid from pg_proc where pronamespace in (select oid from inside)
    union all select 'pg_class'::regclass, oid from pg_class where relnamespace in (select oid from inside)
    union all select 'pg_type'::regclass, oid from pg_type where typnamespace in (select oid from inside)
)
select distinct pg_describe_object(d.classid, d.objid, d.objsubid)
  from things t
  join pg_depend d on d.refclassid = t.class and d.refobjid = t.oid and d.deptype in ('n', 'a')
  left join pg_attrdef a on d.classid = 'pg_attrdef'::regclass and a.oid = d.objid
  left join pg_constraint c on d.classid = 'pg_constraint'::regclass and c.oid = d.objid
  left join pg_trigger g on d.classid = 'pg_trigger'::regclass and g.oid = d.objid
  left join pg_policy p on d.classid = 'pg_policy'::regclass and p.oid = d.objid
  left join pg_rewrite w on d.classid = 'pg_rewrite'::regclass and w.oid = d.objid
  join pg_class r on r.oid = coalesce(a.adrelid, c.conrelid, g.tgrelid, p.polrelid, w.ev_class,
                                      case when d.classid = 'pg_class'::regclass then d.objid end)
 where r.relnamespace not in (select oid from inside)`

// rebuild replaces the functions and views in one transaction and stores the fingerprint with them.
func rebuild(ctx context.Context, conn *pgx.Conn) error {
	var err error
	for range rebuildAttempts {
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return rebuildIn(ctx, tx) })
		if !codeIs(err, lockNotAvailable, deadlockDetected) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("rebuild the transitions: %w", err)
	}
	return nil
}

func rebuildIn(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "set local role "+Owner); err != nil {
		return err
	}
	before, err := dependants(ctx, tx)
	if err != nil {
		return err
	}
	if err := execute(ctx, tx, "empty the schemas", emptySQL); err != nil {
		return err
	}
	if err := executeFiles(ctx, tx, transitions.FS); err != nil {
		return err
	}
	if err := execute(ctx, tx, "grant", grantSQL); err != nil {
		return err
	}
	after, err := dependants(ctx, tx)
	if err != nil {
		return err
	}
	if lost := slices.DeleteFunc(before, func(s string) bool { return slices.Contains(after, s) }); len(lost) > 0 {
		return fmt.Errorf("it would drop %s: tables must not depend on schema otto or otto_api", strings.Join(lost, ", "))
	}
	_, err = tx.Exec(ctx, `insert into public.otto_meta (key, value) values ('fingerprint', $1)
		on conflict (key) do update set value = excluded.value`, Fingerprint())
	return err
}

func dependants(ctx context.Context, tx pgx.Tx) ([]string, error) {
	rows, err := tx.Query(ctx, dependantsSQL)
	if err != nil {
		return nil, fmt.Errorf("read what depends on the transitions: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func executeFiles(ctx context.Context, tx pgx.Tx, files fs.FS) error {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {
		return err
	}
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if err := execute(ctx, tx, "transitions/"+name, string(content)); err != nil {
			return err
		}
	}
	return nil
}

// execute runs a whole script by the simple protocol; a refusal names the script and the line.
func execute(ctx context.Context, tx pgx.Tx, name, script string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, script).ReadAll()
	if err == nil {
		return nil
	}
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Position > 0 {
		runes := []rune(script)
		before := runes[:min(int(refused.Position)-1, len(runes))]
		line := 1 + strings.Count(string(before), "\n")
		return fmt.Errorf("%s:%d: %w", name, line, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
