package scu

import "time"

// DefaultAgeing is how long a queued job waits to count as one point of priority more,
// unless set otherwise: after an hour it has risen by 100.
const DefaultAgeing = 36 * time.Second

// Due is a job's place among those of its owner, the earliest first: when it was queued,
// less the ageing for each point of its priority. It stays as it is while jobs wait, so a
// job is overtaken only by those that come within (their priority - its own) * ageing.
func Due(queued time.Time, priority int, ageing time.Duration) time.Time {
	return queued.Add(-time.Duration(priority) * ageing)
}
