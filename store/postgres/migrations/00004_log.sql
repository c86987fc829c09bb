-- The log that the positions are of: those of another mean nothing in it.

-- +goose Up
ALTER TABLE position ADD COLUMN log text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE position DROP COLUMN log;
