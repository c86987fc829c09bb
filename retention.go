package scu

import (
	"context"
	"strconv"
	"strings"
	"time"
)

// Retention says how long and how much is kept, by kind. What has no entry is kept for
// ever.
type Retention map[RetainedKind]Keep

// RetainedKind is what a policy speaks of.
type RetainedKind string

const (
	RetainJobs        RetainedKind = "jobs"        // that have ended, with their metrics, adapters and kept checkpoints
	RetainFiles       RetainedKind = "files"       // that no unfinished job or comparison reads
	RetainCheckpoints RetainedKind = "checkpoints" // shared ones of jobs that have ended, which a retry would go on from
)

// Keep bounds what is kept of a kind: what is older than Age goes, and, if all have more
// than Bytes, the oldest. 0 is no bound.
type Keep struct {
	Age   time.Duration
	Bytes int64
}

// leastAge keeps what was just stored, and is about to be used.
const leastAge = time.Hour

// ParseRetention reads entries like jobs=90d, files=30d or files=500GB. Two of a kind may be
// an age and a size.
func ParseRetention(entries []string) (Retention, error) {
	r := Retention{}
	for _, e := range entries {
		name, bound, ok := strings.Cut(strings.TrimSpace(e), "=")
		kind := RetainedKind(name)
		if !ok || kind != RetainJobs && kind != RetainFiles && kind != RetainCheckpoints {
			return nil, Errorf(CodeInvalid, "%.60q is not of the form jobs=90d, files=500GB or checkpoints=7d", e)
		}
		k := r[kind]
		if n, ok := parseBytes(bound); ok {
			k.Bytes = n
		} else if d, ok := parseAge(bound); ok && d >= leastAge {
			k.Age = d
		} else {
			return nil, Errorf(CodeInvalid, "%s: %.40q is neither an age of at least an hour (90d, 36h) nor a size above 0 (500GB)", name, bound)
		}
		r[kind] = k
	}
	return r, nil
}

func parseBytes(s string) (int64, bool) {
	for unit, n := range map[string]float64{"MB": 1e6, "GB": 1e9, "TB": 1e12} {
		if number, ok := strings.CutSuffix(s, unit); ok {
			x, err := strconv.ParseFloat(number, 64)
			return int64(x * n), err == nil && x*n >= 1 && x*n < 1e18
		}
	}
	return 0, false
}

func parseAge(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err == nil && n > 0 && n <= 36500
	}
	d, err := time.ParseDuration(s)
	return d, err == nil
}

// Collected is something that the policy lets go.
type Collected struct {
	Kind  RetainedKind `json:"kind"`
	ID    string       `json:"id"`
	Name  string       `json:"name,omitempty"`
	Bytes int64        `json:"bytes"`
	Since time.Time    `json:"since"` // it ended, or was stored
	Why   string       `json:"why"`
	Error string       `json:"error,omitempty"` // why it is still there
}

// DeletionMarks marks files that are about to be deleted, for all processes to see. A
// submission that reads a marked file takes the mark away; one whose deletion has begun it
// can't have. A deleted file has a tombstone for a while.
type DeletionMarks interface {
	// MarkForDeletion marks a file, and returns the mark, or the one that is there.
	MarkForDeletion(ctx context.Context, id string) (mark uint64, err error)
	// BeginDeletion claims the deletion of a file that still has that mark. Of rivals, and of
	// a submission that unmarks it, one wins; the others get CodeConflict.
	BeginDeletion(ctx context.Context, id string, mark uint64) error
	// EndDeletion leaves a tombstone: who found the file before it was deleted, and submits it
	// after, gets CodeConflict.
	EndDeletion(ctx context.Context, id string) error
	// Unmark takes the mark off a file that is about to be used; CodeUnavailable while it is
	// being deleted, CodeConflict if it was.
	Unmark(ctx context.Context, id string) error
	// ForgetDeletion removes the tombstone: the file is stored again.
	ForgetDeletion(ctx context.Context, id string) error
}
