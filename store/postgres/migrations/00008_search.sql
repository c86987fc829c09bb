-- A search by a part of the name or the model goes by its trigrams, if the extension can be had:
-- whoever owns the database may create it, and its files come with PostgreSQL's contrib. Without
-- it the search reads all jobs, and comes to the same. An id is found by the primary key.

-- +goose Up
-- +goose StatementBegin
DO $$ BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX jobs_by_words ON jobs USING gin (lower(name) gin_trgm_ops, lower(base_model) gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'jobs are searched without an index: %', SQLERRM;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP INDEX IF EXISTS jobs_by_words;
