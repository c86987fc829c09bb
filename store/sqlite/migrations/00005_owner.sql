-- An owner's jobs; '' is the administrator's.

-- +goose Up
ALTER TABLE jobs ADD COLUMN owner TEXT AS (coalesce(document->>'owner', ''));
CREATE INDEX jobs_by_owner ON jobs (owner, created_at, job_id);
CREATE INDEX jobs_of_owner ON jobs (owner, status);

-- +goose Down
DROP INDEX jobs_of_owner;
DROP INDEX jobs_by_owner;
ALTER TABLE jobs DROP COLUMN owner;
