-- +goose Up

-- Sessions plan their statements once. A plan made for a table of three rows reads all of it, and still does so when there are
-- thousands: until the table is analysed again, a minute or more. A table that was never analysed is planned for as if it had
-- ten pages, which is right for later too; so these are left alone until they have some rows.
alter table runs set (autovacuum_analyze_threshold = 500, autovacuum_vacuum_threshold = 500);
alter table stages set (autovacuum_analyze_threshold = 500, autovacuum_vacuum_threshold = 500);
alter table tasks set (autovacuum_analyze_threshold = 500, autovacuum_vacuum_threshold = 500);
alter table leases set (autovacuum_analyze_threshold = 500, autovacuum_vacuum_threshold = 500);
alter table steps set (autovacuum_analyze_threshold = 500, autovacuum_vacuum_threshold = 500);
