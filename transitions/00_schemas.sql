-- The schemas of the transitions and of the operator's views. The rebuild has made them already; sqlc reads this.
create schema if not exists otto;
create schema if not exists otto_api;
