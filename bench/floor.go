package bench

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// floor is the least that must be committed for a task by anything that keeps its queue in Postgres: it is inserted,
// claimed by exactly one worker, and finished with one event. Nothing that does more can be faster, so it is the ceiling.
type floor struct{ pool *pgxpool.Pool }

const floorSchema = `
create table floor_tasks (
    id           bigint generated always as identity primary key,
    name         text not null,
    state        text not null default 'ready',
    priority     int not null default 0,
    ready_at     timestamptz not null default now(),
    lease_id     uuid,
    finished_at  timestamptz
) with (fillfactor = 80);
create index floor_tasks_ready on floor_tasks (priority desc, ready_at, id) where state = 'ready';
create table floor_events (
    id       bigint generated always as identity primary key,
    at       timestamptz not null default now(),
    kind     text not null,
    task_id  bigint not null,
    data     jsonb not null default '{}'
);
create table chunks (id bigint generated always as identity primary key, data bytea not null);
alter table chunks alter column data set storage external;`

const (
	floorInsert = "insert into floor_tasks (name) select 'task' from generate_series(1, $1)"
	floorClaim  = `
with picked as (
    select id from floor_tasks where state = 'ready' order by priority desc, ready_at, id limit $1 for update skip locked
)
update floor_tasks t set state = 'running', lease_id = gen_random_uuid() from picked where t.id = picked.id returning t.id`
	floorFinish = `
with done as (
    update floor_tasks set state = 'succeeded', finished_at = now() where id = any($1) and state = 'running' returning id
)
insert into floor_events (kind, task_id) select 'task.succeeded', id from done`
	floorConns = 32
)

// newFloor makes its own database, so that it shares nothing but the disk and the cores with Otto's.
func (p *postgres) newFloor(ctx context.Context) (*floor, error) {
	place, err := p.create(ctx, "ceiling")
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(place)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = floorConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	f := &floor{pool}
	if _, err := pool.Exec(ctx, floorSchema); err != nil {
		pool.Close()
		return nil, err
	}
	return f, nil
}

// load is one way to use the floor.
type load struct {
	workers int
	batch   int  // tasks for each insert, claim and finish
	shell   bool // start `sh -c true` for each task
}

func (l load) String() string {
	text := fmt.Sprintf("%d workers, batches of %d", l.workers, l.batch)
	if l.workers == 1 {
		text = fmt.Sprintf("1 worker, batches of %d", l.batch)
	}
	if l.shell {
		text += ", sh -c true each"
	}
	return text
}

// unbatched and unbatchedShell are what Otto is measured against.
func unbatched() load      { return load{workers: 8, batch: 1} }
func unbatchedShell() load { return load{workers: 8, batch: 1, shell: true} }

// rate is how many tasks per second come to their end.
func (f *floor) rate(ctx context.Context, l load, d time.Duration) (float64, error) {
	if _, err := f.pool.Exec(ctx, "truncate floor_tasks, floor_events"); err != nil {
		return 0, err
	}
	return perSecond(ctx, l.workers, d, func(ctx context.Context) (int, error) { return f.cycle(ctx, l) })
}

// cycle takes a batch through its three commits.
func (f *floor) cycle(ctx context.Context, l load) (int, error) {
	if _, err := f.pool.Exec(ctx, floorInsert, l.batch); err != nil {
		return 0, err
	}
	ids, err := f.claim(ctx, l.batch)
	if err != nil {
		return 0, err
	}
	for range ids {
		if !l.shell {
			break
		}
		if err := spawn(ctx); err != nil {
			return 0, err
		}
	}
	_, err = f.pool.Exec(ctx, floorFinish, ids)
	return len(ids), err
}

// claim takes up to so many tasks that nobody else has.
func (f *floor) claim(ctx context.Context, atMost int) ([]int64, error) {
	rows, err := f.pool.Query(ctx, floorClaim, atMost)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// spawn runs the cheapest shell.
func spawn(ctx context.Context) error { return exec.CommandContext(ctx, "sh", "-c", "true").Run() }

// perSecond lets workers do something again and again for a while, and answers how much they did per second.
func perSecond(ctx context.Context, workers int, d time.Duration, do func(context.Context) (int, error)) (float64, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	began := time.Now()
	for range workers {
		group.Go(func() {
			for time.Since(began) < d && failed.Load() == nil {
				n, err := do(ctx)
				if err != nil {
					failed.Store(&err)
					return
				}
				done.Add(int64(n))
			}
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(began).Seconds(), nil
}
