package bench

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ottoci/otto/db/local"
	"github.com/ottoci/otto/migrations"
)

// postgres is the server that everything is measured on, as durable as a real one.
type postgres struct {
	server  *local.Server
	admin   *pgxpool.Pool // superuser, in a database that nothing else uses
	version string
}

func startPostgres(ctx context.Context, cfg Config, log *slog.Logger) (_ *postgres, err error) {
	p := &postgres{}
	p.server, err = local.Start(ctx, local.Config{
		Dir: filepath.Join(cfg.Dir, "postgres"), Bin: cfg.PgBin, Durable: !cfg.lax, InitCache: cfg.initCache, Log: log,
		Settings: map[string]string{"max_connections": "150", "pg_stat_statements.max": "10000"},
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	if p.admin, err = pgxpool.New(ctx, p.server.URL()); err != nil {
		return nil, err
	}
	if _, err = p.admin.Exec(ctx, "create extension pg_stat_statements"); err != nil {
		return nil, fmt.Errorf("count statements: %w", err)
	}
	if err = p.admin.QueryRow(ctx, "select current_setting('server_version')").Scan(&p.version); err != nil || cfg.lax {
		return p, err
	}
	return p, p.durable(ctx)
}

// durable proves that the server keeps what it has committed: figures of one that does not would be worthless.
func (p *postgres) durable(ctx context.Context) error {
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var value string
		if err := p.admin.QueryRow(ctx, "select current_setting($1)", name).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("the database's %s is %s: it must be on", name, value)
		}
	}
	return nil
}

func (p *postgres) stop() {
	if p.admin != nil {
		p.admin.Close()
	}
	p.server.Stop()
}

// create makes an empty database and gives its connection string.
func (p *postgres) create(ctx context.Context, name string) (string, error) {
	if _, err := p.admin.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	u, err := url.Parse(p.server.URL())
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// createMigrated makes a database with Otto's schema.
func (p *postgres) createMigrated(ctx context.Context, name string) (string, error) {
	place, err := p.create(ctx, name)
	if err != nil {
		return "", err
	}
	_, err = migrations.Up(ctx, place)
	return place, err
}

// counting makes statements inside of functions count as well, and their planning be timed. That costs time, so it is
// off while time is measured.
func (p *postgres) counting(ctx context.Context, on bool) error {
	track, planning := "top", "off"
	if on {
		track, planning = "all", "on"
	}
	for _, statement := range []string{
		"alter system set pg_stat_statements.track = '" + track + "'",
		"alter system set pg_stat_statements.track_planning = '" + planning + "'",
		"select pg_reload_conf()",
	} {
		if _, err := p.admin.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// work is what Postgres has done so far. Only differences mean something.
type work struct {
	At         time.Time
	WAL        int64   // bytes written ahead
	Writes     int64   // transactions that wrote; all databases
	Statements int64   // sent by Otto's processes to one database
	All        int64   // those, and where they are counted, what functions do
	MS         float64 // of executing all counted statements that Otto sent
	PlanMS     float64 // of planning, where it is counted
	Buffers    int64   // pages touched by those that Otto sent
}

// retiring matches the statements with which a worker deletes what is over. They are not what a task costs.
const retiring = `otto\.((runs|plans|sources|events|objects)_prune|logs_expire|objects_take)\(`

// work reads the counters; statements are those of Otto's role in the database named, retention's aside.
func (p *postgres) work(ctx context.Context, database string) (w work, err error) {
	const query = `
select pg_current_wal_lsn() - '0/0'::pg_lsn, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       coalesce(sum(s.calls) filter (where s.toplevel), 0)::bigint, coalesce(sum(s.calls), 0)::bigint,
       coalesce(sum(s.total_exec_time) filter (where s.toplevel), 0)::float8, coalesce(sum(s.total_plan_time), 0)::float8,
       coalesce(sum(s.shared_blks_hit + s.shared_blks_read) filter (where s.toplevel), 0)::bigint
  from pg_database d left join pg_stat_statements s on s.dbid = d.oid and s.userid in (select oid from pg_roles where rolname in ($2, $3))
       and not (s.toplevel and s.query ~ $4)
 where d.datname = $1`
	w.At = time.Now()
	err = p.admin.QueryRow(ctx, query, database, migrations.App, migrations.Owner, retiring).
		Scan(&w.WAL, &w.Writes, &w.Statements, &w.All, &w.MS, &w.PlanMS, &w.Buffers)
	return w, err
}

func (w work) since(before work) work {
	return work{
		At: w.At, WAL: w.WAL - before.WAL, Writes: w.Writes - before.Writes, Statements: w.Statements - before.Statements, All: w.All - before.All,
		MS: w.MS - before.MS, PlanMS: w.PlanMS - before.PlanMS, Buffers: w.Buffers - before.Buffers,
	}
}

// forget empties the list of statements.
func (p *postgres) forget(ctx context.Context) error {
	_, err := p.admin.Exec(ctx, "select pg_stat_statements_reset()")
	return err
}

// statements lists where the time of tasks went, the dearest first.
func (p *postgres) statements(ctx context.Context, database string, tasks, atMost int) ([]Statement, error) {
	const query = `
select s.calls / $2::float8, s.total_exec_time / $2, s.total_plan_time / $2, s.rows / $2::float8, (s.shared_blks_hit + s.shared_blks_read) / $2::float8, s.toplevel, s.query
  from pg_stat_statements s join pg_database d on d.oid = s.dbid join pg_roles r on r.oid = s.userid
 where d.datname = $1 and r.rolname in ($4, $5) order by s.total_exec_time desc limit $3`
	rows, err := p.admin.Query(ctx, query, database, float64(tasks), atMost, migrations.App, migrations.Owner)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Statement])
}
