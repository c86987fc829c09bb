-- The read model. A job's row is the document of its newest entry in the log;
-- the columns beside it are derived from that, for queries. Times are UTC.

-- +goose Up
CREATE TABLE jobs (
    job_id        TEXT PRIMARY KEY,
    seq           INTEGER NOT NULL, -- of the entry, in the log
    created_at    TEXT NOT NULL,
    started_at    TEXT,
    completed_at  TEXT,
    document      TEXT NOT NULL,
    name          TEXT AS (document->>'name'),
    base_model    TEXT AS (document->>'base_model'),
    class         TEXT AS (document->>'class'),
    priority      INTEGER AS (document->>'priority'),
    status        TEXT AS (document->>'status'),
    current_phase TEXT AS (document->>'current_phase'),
    attempt       INTEGER AS (document->>'attempt'),
    trainer       TEXT AS (document->>'trainer'),
    total_steps   INTEGER AS (document->>'total_steps'),
    error_code    TEXT AS (document->'error'->>'code'),
    error_message TEXT AS (document->'error'->>'message'),
    config        TEXT AS (document->'config'),
    adapter       TEXT AS (document->'adapter')
);
CREATE INDEX jobs_by_age ON jobs (created_at, job_id);
CREATE INDEX jobs_by_status ON jobs (status, created_at, job_id);

CREATE TABLE metrics (
    job_id            TEXT NOT NULL,
    attempt           INTEGER NOT NULL,
    step              INTEGER NOT NULL,
    total_steps       INTEGER NOT NULL,
    epoch             REAL NOT NULL,
    loss              REAL NOT NULL,
    ce                REAL NOT NULL,
    data_bpt          REAL NOT NULL,
    param_bpt         REAL NOT NULL,
    total_bpt         REAL NOT NULL,
    s_ratio           REAL NOT NULL,
    s_hat             REAL NOT NULL,
    lambda_value      REAL NOT NULL,
    lambda_next       REAL NOT NULL,
    learning_rate     REAL NOT NULL,
    grad_norm         REAL NOT NULL,
    val_loss          REAL,
    tokens            INTEGER NOT NULL,
    tokens_per_second REAL NOT NULL,
    eta_minutes       REAL NOT NULL,
    timestamp         TEXT NOT NULL,
    PRIMARY KEY (job_id, step, attempt) -- in the order in which pages are read
) WITHOUT ROWID;

-- The newest step of the newest attempt of each job.
CREATE TABLE progress (
    job_id      TEXT PRIMARY KEY,
    attempt     INTEGER NOT NULL,
    step        INTEGER NOT NULL,
    total_steps INTEGER NOT NULL
) WITHOUT ROWID;

-- One row: up to which sequence of each stream this model is.
CREATE TABLE position (
    one     INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    state   INTEGER NOT NULL,
    metrics INTEGER NOT NULL
);
INSERT INTO position (state, metrics) VALUES (0, 0);

-- +goose Down
DROP TABLE position;
DROP TABLE progress;
DROP TABLE metrics;
DROP TABLE jobs;
