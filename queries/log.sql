-- name: LogAppend :one
-- LogAppend takes the next chunk of a log and answers the number of the one wanted next.
select otto.log_append(@lease::uuid, @epoch::int, @agent::bigint, @seq::int, @bytes::int, @lines::int, @segments::jsonb, @data::bytea)::int as next;

-- name: LogAppendAll :batchone
-- LogAppendAll takes chunks that follow each other, in one transaction: all or none.
select otto.log_append(@lease::uuid, @epoch::int, @agent::bigint, @seq::int, @bytes::int, @lines::int, @segments::jsonb, @data::bytea)::int as next;

-- name: LogCompact :many
-- LogCompact puts a stored object in the place of a log's chunks. No row: somebody else did.
select * from otto.log_compact(@lease::uuid, @object::text, @index_at::bigint);

-- name: LogChunks :many
-- LogChunks reads chunks of a log from a number on.
select seq, first_byte, bytes, first_line, lines, segments, data from log_chunks
 where lease_id = @lease::uuid and seq >= @from_seq::int order by seq limit @at_most::int;

-- name: LogIndex :many
-- LogIndex reads where the chunks of a log begin, without their bytes.
select seq, first_byte, bytes, first_line, lines, segments, length(data)::int as stored from log_chunks
 where lease_id = @lease::uuid order by seq;
