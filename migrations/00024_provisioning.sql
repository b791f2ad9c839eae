-- +goose NO TRANSACTION
-- +goose Up

-- Checks what was there before, without keeping anybody from it.
alter table tasks validate constraint leased_iff_active;
alter table tasks validate constraint awarded_iff_provisioning;
