package query

import (
	"context"
	"time"

	"github.com/shannon-control/scu"
)

// Bounds of one reading, and of one batch that is written. A database that hangs, or whose
// table somebody locked, must not hold a caller for ever.
const (
	ReadTime  = 5 * time.Second
	WriteTime = 30 * time.Second
	// CurvesTime is that of all steps of a job.
	CurvesTime = 30 * time.Second
	// CheckTime is that of a look at all rows, beside what is asked meanwhile.
	CheckTime = 5 * time.Minute
)

// Within does f in its time; CodeUnavailable if that is not enough.
func Within(ctx context.Context, d time.Duration, f func(ctx context.Context) error) error {
	inner, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	err := f(inner)
	if err != nil && inner.Err() != nil && ctx.Err() == nil {
		return scu.Errorf(scu.CodeUnavailable, "the database gave no answer within %v", d).WithHint("is it overloaded, or a table of it locked?")
	}
	return err
}
