-- +goose Up

-- Servers remember credentials. This counts what makes a credential worth less, or name its agent otherwise: a server that
-- sees it change, which it looks for every few seconds, forgets all that it remembers. One of the version before looks each
-- credential up every 3 s and needs no count. Everybody reads this table, so the change gives up soon where somebody reads for
-- long: start the server again then.
set local lock_timeout = '5s';
alter table cluster add token_changes bigint not null default 0;
