-- +goose Up

-- River's tables live here; its own migrations are the numbers 2 and 3 of this chain (river.go).
create schema river;

-- otto_meta holds facts about the schema itself, like the fingerprint of the SQL that built it.
create table otto_meta (
    key    text primary key,
    value  text not null
);
