// Package query is the SQL that both stores speak, and how rows become values of
// the domain. Placeholders are $1, $2, ..., which SQLite knows as well.
package query

import "strings"

// Statements that write. UpsertJob takes JobValues, UpsertProgress
// ProgressValues, MovePositions the new positions of state and metrics, the log's
// identity, and the old positions; it must change one row.
const (
	UpsertJob = `INSERT INTO jobs (job_id, seq, created_at, started_at, completed_at, document)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (job_id) DO UPDATE SET seq = excluded.seq, created_at = excluded.created_at,
	started_at = excluded.started_at, completed_at = excluded.completed_at, document = excluded.document
WHERE excluded.seq > jobs.seq`

	UpsertProgress = `INSERT INTO progress (job_id, attempt, step, total_steps)
VALUES ($1, $2, $3, $4)
ON CONFLICT (job_id) DO UPDATE SET attempt = excluded.attempt, step = excluded.step, total_steps = excluded.total_steps
WHERE (excluded.attempt, excluded.step) > (progress.attempt, progress.step)`

	MovePositions = `UPDATE position SET state = $1, metrics = $2, log = $3 WHERE state = $4 AND metrics = $5`

	// Both take a job's id. A deleted job's row stays, so that what comes of it later, in
	// the other stream, goes as well.
	DropMetrics  = `DELETE FROM metrics WHERE job_id = $1 AND EXISTS (SELECT 1 FROM jobs WHERE job_id = $1 AND status = 'deleted')`
	DropProgress = `DELETE FROM progress WHERE job_id = $1 AND EXISTS (SELECT 1 FROM jobs WHERE job_id = $1 AND status = 'deleted')`

	// Touch changes nothing, but needs a database that can be written.
	Touch = `UPDATE position SET one = one`

	ResetPositions = `UPDATE position SET state = 0, metrics = 0, log = ''`
)

// Statements that read.
const (
	positions = `SELECT state, metrics, log FROM position`
	counts    = `SELECT status, count(*) FROM jobs WHERE status <> 'deleted'`

	waiting = `SELECT class, priority, count(*), min(created_at) FROM jobs WHERE status = 'queued'
GROUP BY class, priority ORDER BY class, priority DESC`

	// The class, the priority, whether an attempt was begun (0: yes, 1: no), and seq.
	ahead = `SELECT count(CASE WHEN priority > $2 THEN 1 END), count(CASE WHEN priority = $2 THEN 1 END)
FROM jobs WHERE status = 'queued' AND class = $1 AND priority >= $2
	AND (priority > $2 OR (CASE WHEN attempt > 0 THEN 0 ELSE 1 END, seq) < ($3, $4))`

	// A digest anywhere in the sources is taken for a file of theirs.
	usersOf = `SELECT job_id FROM jobs WHERE status IN ('scheduled', 'queued', 'running', 'paused') AND ($1 IN
	(document->'train_data'->>'id', document->'val_data'->>'id', document->'other_data'->>'id', document->'config'->>'from_adapter_file')
	OR CAST(document->'sources' AS text) LIKE '%' || $1 || '%')
ORDER BY created_at, job_id LIMIT $2`

	job       = `SELECT j.document, p.step, p.total_steps FROM jobs j LEFT JOIN progress p ON p.job_id = j.job_id`
	jobByID   = job + ` WHERE j.job_id = $1 AND j.status <> 'deleted'`
	createdAt = `SELECT created_at FROM jobs WHERE job_id = $1`
)

var (
	metrics = `SELECT m.` + strings.Join(MetricColumns, `, m.`) + ` FROM metrics m`

	metricsPage = metrics + ` WHERE m.job_id = $1 AND m.step > $2
	AND m.attempt = (SELECT max(n.attempt) FROM metrics n WHERE n.job_id = m.job_id AND n.step = m.step)
ORDER BY m.step LIMIT $3`
	latest = metrics + ` JOIN progress p ON p.job_id = m.job_id AND p.attempt = m.attempt AND p.step = m.step
WHERE p.job_id = $1`
)
