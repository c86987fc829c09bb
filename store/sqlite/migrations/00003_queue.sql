-- A queued job's place in the queue.

-- +goose Up
CREATE INDEX jobs_queue ON jobs (class, priority, attempt, seq) WHERE status = 'queued';

-- +goose Down
DROP INDEX jobs_queue;
