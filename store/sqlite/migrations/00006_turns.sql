-- A queued job's place in its owner's line, and the owners' turns: when it was queued, in
-- milliseconds of Unix time.

-- +goose Up
ALTER TABLE jobs ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET queued = unixepoch(created_at) * 1000;
DROP INDEX jobs_queue;
CREATE INDEX jobs_turns ON jobs (class, owner, priority, queued, seq) WHERE status = 'queued';

-- +goose Down
DROP INDEX jobs_turns;
CREATE INDEX jobs_queue ON jobs (class, priority, attempt, seq) WHERE status = 'queued';
ALTER TABLE jobs DROP COLUMN queued;
