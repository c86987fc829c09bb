-- How many rows were written, beside the rows: a table that lost some is noticed, and
-- rebuilt from the log. Deletions by the projector are subtracted by it, others aren't.

-- +goose Up
ALTER TABLE position ADD COLUMN job_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE position ADD COLUMN metric_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE position ADD COLUMN progress_rows INTEGER NOT NULL DEFAULT 0;
UPDATE position SET job_rows = (SELECT count(*) FROM jobs), metric_rows = (SELECT count(*) FROM metrics),
    progress_rows = (SELECT count(*) FROM progress);
-- +goose StatementBegin
CREATE TRIGGER tally_jobs AFTER INSERT ON jobs BEGIN UPDATE position SET job_rows = job_rows + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER tally_metrics AFTER INSERT ON metrics BEGIN UPDATE position SET metric_rows = metric_rows + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER tally_progress AFTER INSERT ON progress BEGIN UPDATE position SET progress_rows = progress_rows + 1; END;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER tally_progress;
DROP TRIGGER tally_metrics;
DROP TRIGGER tally_jobs;
ALTER TABLE position DROP COLUMN progress_rows;
ALTER TABLE position DROP COLUMN metric_rows;
ALTER TABLE position DROP COLUMN job_rows;
