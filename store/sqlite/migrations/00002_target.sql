-- S is shown beside its target, lambda beside its bounds if it rests at one.

-- +goose Up
ALTER TABLE metrics ADD COLUMN target_s REAL NOT NULL DEFAULT 0;
ALTER TABLE metrics ADD COLUMN lambda_min REAL;
ALTER TABLE metrics ADD COLUMN lambda_max REAL;

-- +goose Down
ALTER TABLE metrics DROP COLUMN lambda_max;
ALTER TABLE metrics DROP COLUMN lambda_min;
ALTER TABLE metrics DROP COLUMN target_s;
