-- How many rows were written, beside the rows: a table that lost some is noticed, and
-- rebuilt from the log. Deletions by the projector are subtracted by it, others aren't.

-- +goose Up
ALTER TABLE position ADD COLUMN job_rows bigint NOT NULL DEFAULT 0;
ALTER TABLE position ADD COLUMN metric_rows bigint NOT NULL DEFAULT 0;
ALTER TABLE position ADD COLUMN progress_rows bigint NOT NULL DEFAULT 0;
UPDATE position SET job_rows = (SELECT count(*) FROM jobs), metric_rows = (SELECT count(*) FROM metrics),
    progress_rows = (SELECT count(*) FROM progress);
-- +goose StatementBegin
CREATE FUNCTION tally_jobs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE position SET job_rows = job_rows + (SELECT count(*) FROM written); RETURN NULL; END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION tally_metrics() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE position SET metric_rows = metric_rows + (SELECT count(*) FROM written); RETURN NULL; END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION tally_progress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE position SET progress_rows = progress_rows + (SELECT count(*) FROM written); RETURN NULL; END $$;
-- +goose StatementEnd
CREATE TRIGGER tally AFTER INSERT ON jobs REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION tally_jobs();
CREATE TRIGGER tally AFTER INSERT ON metrics REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION tally_metrics();
CREATE TRIGGER tally AFTER INSERT ON progress REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION tally_progress();

-- +goose Down
DROP TRIGGER tally ON progress;
DROP TRIGGER tally ON metrics;
DROP TRIGGER tally ON jobs;
DROP FUNCTION tally_progress, tally_metrics, tally_jobs;
ALTER TABLE position DROP COLUMN progress_rows;
ALTER TABLE position DROP COLUMN metric_rows;
ALTER TABLE position DROP COLUMN job_rows;
