-- name: LogAppend :one
-- LogAppend takes the next chunk of a log and answers the number of the one wanted next.
select otto.log_append(@lease::uuid, @epoch::int, @agent::bigint, @seq::int, @bytes::int, @lines::int, @segments::jsonb, @data::bytea)::int as next;

-- name: LogAppendAll :batchone
-- LogAppendAll takes chunks that follow each other, in one transaction: all or none.
select otto.log_append(@lease::uuid, @epoch::int, @agent::bigint, @seq::int, @bytes::int, @lines::int, @segments::jsonb, @data::bytea)::int as next;

-- name: LogsDone :many
-- LogsDone lists attempts whose log is over and can be compacted, from an id on.
select * from leases
 where log_object is null and ended_at is not null and log_chunks > 0 and log_done_at is not null and id > sqlc.arg('from')::uuid
 order by id limit @at_most::int;

-- name: LogCompact :many
-- LogCompact puts a stored object in the place of a log's chunks. No row: somebody else did.
select * from otto.log_compact(@lease::uuid, @object::text, @index_at::bigint);

-- name: LogPack :exec
-- LogPack says that an object will be written that many logs go into.
select otto.log_pack(@object::text);

-- name: LogsCompact :many
-- LogsCompact puts a stored object in the place of the chunks of many logs, and answers which: those that nobody else has moved.
select id from otto.logs_compact(@logs::uuid[], @object::text, @index_at::bigint);

-- name: LogsChunks :many
-- LogsChunks reads all chunks of logs, which are small.
select lease_id, seq, first_byte, bytes, first_line, lines, segments, otto.log_data(lease_id, seq, data)::bytea as data
  from log_chunks where lease_id = any(@leases::uuid[]) order by lease_id, seq;

-- name: LogChunks :many
-- LogChunks reads chunks of a log from a number on: as many as begin within so many raw bytes, if that is not 0. Their data
-- are fetched last, so those beyond cost nothing.
select c.seq, c.first_byte, c.bytes, c.first_line, c.lines, c.segments, otto.log_data(c.lease_id, c.seq, c.data)::bytea as data
  from (select k.seq, k.at, sum(k.bytes) over (order by k.seq) - k.bytes as before from log_chunks k
         where k.lease_id = sqlc.arg(lease)::uuid and k.seq >= sqlc.arg(from_seq)::int and k.seq < sqlc.arg(from_seq)::bigint + sqlc.arg(at_most)::int) w
  join log_chunks c on c.lease_id = sqlc.arg(lease)::uuid and c.seq = w.seq and c.at = w.at
 where sqlc.arg(most_bytes)::int = 0 or w.before < sqlc.arg(most_bytes)::int order by c.seq;

-- name: LogIndex :many
-- LogIndex reads where the chunks of a log begin, without their bytes.
select seq, first_byte, bytes, first_line, lines, segments, length(otto.log_data(lease_id, seq, data))::int as stored from log_chunks
 where lease_id = @lease::uuid order by seq;
