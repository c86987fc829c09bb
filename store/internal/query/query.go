// Package query is the SQL that both stores speak, and how rows become values of
// the domain. Placeholders are $1, $2, ..., which SQLite knows as well.
package query

import "strings"

// Statements that write. InsertJobs and InsertProgress come before the rows' values, in
// any form, OnJob and OnProgress after them; no job may come twice. MovePositions takes the
// new positions of state and metrics, the log's identity, and the old positions; it must
// change one row.
const (
	InsertJobs = `INSERT INTO jobs (job_id, seq, created_at, started_at, completed_at, queued, document) `
	OnJob      = ` ON CONFLICT (job_id) DO UPDATE SET seq = excluded.seq, created_at = excluded.created_at, started_at = excluded.started_at,
	completed_at = excluded.completed_at, queued = excluded.queued, document = excluded.document
WHERE excluded.seq > jobs.seq`

	InsertProgress = `INSERT INTO progress (job_id, attempt, step, total_steps) `
	OnProgress     = ` ON CONFLICT (job_id) DO UPDATE SET attempt = excluded.attempt, step = excluded.step, total_steps = excluded.total_steps
WHERE (excluded.attempt, excluded.step) > (progress.attempt, progress.step)`

	MovePositions = `UPDATE position SET state = $1, metrics = $2, log = $3 WHERE state = $4 AND metrics = $5`

	// Deleted lists the deleted of some jobs, which follow as a set; a deleted job's row stays,
	// so that what comes of it later, in the other stream, goes as well.
	Deleted = `SELECT job_id FROM jobs WHERE status = 'deleted' AND job_id `

	DropMetrics  = `DELETE FROM metrics WHERE job_id `
	DropProgress = `DELETE FROM progress WHERE job_id `

	// Touch changes nothing, but needs a database that can be written.
	Touch = `UPDATE position SET one = one`

	// FirstPosition puts the zero position into its empty table.
	FirstPosition = `INSERT INTO position (state, metrics) VALUES (0, 0)`

	// DroppedMetrics and DroppedProgress take how many rows were deleted out of the tally,
	// which triggers keep of those that are written.
	DroppedMetrics  = `UPDATE position SET metric_rows = metric_rows - $1`
	DroppedProgress = `UPDATE position SET progress_rows = progress_rows - $1`
)

// Statements that read.
const (
	positions = `SELECT state, metrics, log FROM position`

	// missing is how many rows of each table were written and are gone.
	missing = `SELECT job_rows - (SELECT count(*) FROM jobs), metric_rows - (SELECT count(*) FROM metrics),
	progress_rows - (SELECT count(*) FROM progress) FROM position`
	counts = `SELECT status, count(*) FROM jobs WHERE status <> 'deleted'`

	waitingOf = `SELECT p.state, (SELECT count(*) FROM jobs WHERE owner = $1 AND status IN ('queued', 'scheduled', 'paused')) FROM position p`

	waiting = `SELECT class, priority, count(*), min(created_at) FROM jobs WHERE status = 'queued'
GROUP BY class, priority ORDER BY class, priority DESC`

	// lanes are the owners and priorities of a class's queued jobs, each found by a look
	// into the index rather than by reading all jobs.
	lanes = `WITH RECURSIVE lanes (owner, priority) AS (
	SELECT owner, priority FROM (SELECT owner, priority FROM jobs WHERE status = 'queued' AND class = $1
		ORDER BY owner, priority LIMIT 1) AS first
	UNION ALL
	SELECT j.owner, j.priority FROM lanes l JOIN jobs j ON j.job_id = (SELECT k.job_id FROM jobs k
		WHERE k.status = 'queued' AND k.class = $1 AND (k.owner, k.priority) > (l.owner, l.priority)
		ORDER BY k.owner, k.priority LIMIT 1)
)`

	// The class, the owner, the priority, when the job was queued if its row doesn't say
	// so yet, its seq, the ageing in milliseconds, its id, the most that are counted of a
	// priority: in a long queue more would take as long as a scan of it. They are counted in
	// the order of the index, or a planner without statistics reads the table, and once: a
	// planner that may put their number where it is used counts them at each. See scu.Due.
	ahead = lanes + `, mine AS (SELECT coalesce((SELECT CASE WHEN status = 'queued' THEN queued END FROM jobs WHERE job_id = $7), CAST($4 AS bigint)) AS queued),
own AS MATERIALIZED (SELECT l.priority, (SELECT count(*) FROM (SELECT 1 FROM jobs j
	WHERE j.status = 'queued' AND j.class = $1 AND j.owner = $2 AND j.priority = l.priority AND (j.queued, j.seq) < (
		CASE WHEN CAST($6 AS bigint) > 0 OR l.priority = $3 THEN mine.queued + (l.priority - $3) * CAST($6 AS bigint)
			WHEN l.priority > $3 THEN 9223372036854775807 ELSE 0 END,
		CASE WHEN l.priority = $3 THEN CAST($5 AS bigint) WHEN l.priority > $3 THEN 9223372036854775807 ELSE 0 END)
	ORDER BY j.queued, j.seq LIMIT $8) AS counted) AS n
	FROM lanes l, mine WHERE l.owner = $2)
SELECT coalesce(sum(CASE WHEN priority <> $3 THEN n END), 0), coalesce(sum(CASE WHEN priority = $3 THEN n END), 0),
	(SELECT count(DISTINCT owner) FROM lanes WHERE owner <> $2), coalesce(max(n), 0) FROM own`

	// The class, the owner whose turn isn't counted, the most turns of each other.
	others = lanes + `SELECT coalesce(sum(n), 0) FROM (SELECT (SELECT count(*) FROM (SELECT 1 FROM jobs j
	WHERE j.status = 'queued' AND j.class = $1 AND j.owner = o.owner
	ORDER BY j.priority, j.queued, j.seq LIMIT $3) AS turns) AS n
	FROM (SELECT DISTINCT owner FROM lanes WHERE owner <> $2) AS o) AS turns`

	// A digest anywhere in the sources is taken for a file of theirs.
	usersOf = `SELECT job_id FROM jobs WHERE status IN ('scheduled', 'queued', 'running', 'paused') AND ($1 IN
	(document->'train_data'->>'id', document->'val_data'->>'id', document->'other_data'->>'id', document->'config'->>'from_adapter_file')
	OR CAST(document->'sources' AS text) LIKE '%' || $1 || '%')`

	job       = `SELECT j.document, p.step, p.total_steps FROM jobs j LEFT JOIN progress p ON p.job_id = j.job_id`
	jobByID   = job + ` WHERE j.job_id = $1 AND j.status <> 'deleted'`
	createdAt = `SELECT created_at FROM jobs WHERE job_id = $1`
)

var (
	metrics = `SELECT m.` + strings.Join(MetricColumns, `, m.`) + ` FROM metrics m`

	newestSteps = metrics + ` WHERE m.job_id = $1 AND m.step > $2
	AND m.attempt = (SELECT max(n.attempt) FROM metrics n WHERE n.job_id = m.job_id AND n.step = m.step)`
	metricsPage = newestSteps + ` ORDER BY m.step LIMIT $3`
	metricsOf   = newestSteps + ` AND m.step IN (SELECT CAST(key AS bigint) FROM json_each($4)) ORDER BY m.step LIMIT $3`

	// A step that several attempts trained comes several times, the newest attempt last.
	curves = `SELECT step, ce, val_loss, s_ratio, s_hat, lambda_value, lambda_next, coalesce(lambda_min, lambda_max) IS NOT NULL
FROM metrics WHERE job_id = $1 ORDER BY step, attempt`

	latest = metrics + ` JOIN progress p ON p.job_id = m.job_id AND p.attempt = m.attempt AND p.step = m.step
WHERE p.job_id = $1`
)
