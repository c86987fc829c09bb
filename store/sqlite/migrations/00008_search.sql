-- A search through all jobs by name, model and id reads this index alone, not each document.

-- +goose Up
DROP INDEX jobs_by_age;
CREATE INDEX jobs_by_age ON jobs (created_at, job_id, status, name, base_model);

-- +goose Down
DROP INDEX jobs_by_age;
CREATE INDEX jobs_by_age ON jobs (created_at, job_id);
