-- The read model. A job's row is the document of its newest entry in the log;
-- the columns beside it are derived from that, for queries. Times are UTC.

-- +goose Up
CREATE TABLE jobs (
    job_id        text COLLATE "C" PRIMARY KEY,
    seq           bigint NOT NULL, -- of the entry, in the log
    created_at    timestamptz NOT NULL,
    started_at    timestamptz,
    completed_at  timestamptz,
    document      jsonb NOT NULL,
    name          text GENERATED ALWAYS AS (document->>'name') STORED,
    base_model    text GENERATED ALWAYS AS (document->>'base_model') STORED,
    class         text GENERATED ALWAYS AS (document->>'class') STORED,
    priority      bigint GENERATED ALWAYS AS ((document->>'priority')::bigint) STORED,
    status        text COLLATE "C" GENERATED ALWAYS AS (document->>'status') STORED,
    current_phase text GENERATED ALWAYS AS (document->>'current_phase') STORED,
    attempt       bigint GENERATED ALWAYS AS ((document->>'attempt')::bigint) STORED,
    trainer       text GENERATED ALWAYS AS (document->>'trainer') STORED,
    total_steps   bigint GENERATED ALWAYS AS ((document->>'total_steps')::bigint) STORED,
    error_code    text GENERATED ALWAYS AS (document->'error'->>'code') STORED,
    error_message text GENERATED ALWAYS AS (document->'error'->>'message') STORED,
    config        jsonb GENERATED ALWAYS AS (document->'config') STORED,
    adapter       jsonb GENERATED ALWAYS AS (document->'adapter') STORED
);
CREATE INDEX jobs_by_age ON jobs (created_at, job_id);
CREATE INDEX jobs_by_status ON jobs (status, created_at, job_id);

CREATE TABLE metrics (
    job_id            text COLLATE "C" NOT NULL,
    attempt           bigint NOT NULL,
    step              bigint NOT NULL,
    total_steps       bigint NOT NULL,
    epoch             double precision NOT NULL,
    loss              double precision NOT NULL,
    ce                double precision NOT NULL,
    data_bpt          double precision NOT NULL,
    param_bpt         double precision NOT NULL,
    total_bpt         double precision NOT NULL,
    s_ratio           double precision NOT NULL,
    s_hat             double precision NOT NULL,
    lambda_value      double precision NOT NULL,
    lambda_next       double precision NOT NULL,
    learning_rate     double precision NOT NULL,
    grad_norm         double precision NOT NULL,
    val_loss          double precision,
    tokens            bigint NOT NULL,
    tokens_per_second double precision NOT NULL,
    eta_minutes       double precision NOT NULL,
    timestamp         timestamptz NOT NULL,
    PRIMARY KEY (job_id, step, attempt) -- in the order in which pages are read
);

-- The newest step of the newest attempt of each job.
CREATE TABLE progress (
    job_id      text COLLATE "C" PRIMARY KEY,
    attempt     bigint NOT NULL,
    step        bigint NOT NULL,
    total_steps bigint NOT NULL
);

-- One row: up to which sequence of each stream this model is.
CREATE TABLE position (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    state   bigint NOT NULL,
    metrics bigint NOT NULL
);
INSERT INTO position (state, metrics) VALUES (0, 0);

-- +goose Down
DROP TABLE position, progress, metrics, jobs;
