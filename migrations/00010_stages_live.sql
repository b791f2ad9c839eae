-- +goose Up

-- All look-ups of stages are by run, which the key (run_id, index) serves as well. This index was one more to write to, and
-- tempted the planner: for a set of runs it read the whole of it, dead entries included.
set local lock_timeout = '5s';
drop index stages_live;
