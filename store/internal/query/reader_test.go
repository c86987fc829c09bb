package query

import (
	"context"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// Whatever is asked of a database that doesn't answer, the asking ends.
func TestEachReadingHasAnEnd(t *testing.T) {
	const id = "0123456789abcdef"
	for name, ask := range map[string]func(context.Context, Reader) error{
		"position":  func(ctx context.Context, r Reader) error { _, err := r.Position(ctx); return err },
		"check":     func(ctx context.Context, r Reader) error { return r.Check(ctx) },
		"job":       func(ctx context.Context, r Reader) error { _, _, err := r.Job(ctx, id); return err },
		"jobs":      func(ctx context.Context, r Reader) error { _, err := r.Jobs(ctx, scu.JobFilter{}); return err },
		"ahead":     func(ctx context.Context, r Reader) error { _, err := r.Ahead(ctx, scu.Job{ID: id}, 1, 0); return err },
		"users of":  func(ctx context.Context, r Reader) error { _, err := r.UsersOf(ctx, "", id, 1); return err },
		"counts":    func(ctx context.Context, r Reader) error { _, err := r.Counts(ctx, ""); return err },
		"waitingOf": func(ctx context.Context, r Reader) error { _, _, err := r.WaitingOf(ctx, ""); return err },
		"waiting":   func(ctx context.Context, r Reader) error { _, err := r.Waiting(ctx); return err },
		"metrics":   func(ctx context.Context, r Reader) error { _, _, err := r.Metrics(ctx, id, scu.StepPage{}); return err },
		"curves":    func(ctx context.Context, r Reader) error { return r.Curves(ctx, id, func(scu.CurvePoint) {}) },
		"latest":    func(ctx context.Context, r Reader) error { _, err := r.Latest(ctx, id); return err },
	} {
		asked := false
		err := ask(t.Context(), func(ctx context.Context, _ string, _ []any, _ func(Scan) error) error {
			end, ok := ctx.Deadline()
			if asked = true; !ok || time.Until(end) > CheckTime {
				t.Errorf("%s: it may take for ever", name)
			}
			return scu.Errorf(scu.CodeUnavailable, "no answer")
		})
		if !asked || scu.CodeOf(err) != scu.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// However many steps are asked for, it is one statement, which a connection prepares once.
func TestSomeStepsAreOneStatement(t *testing.T) {
	statements := map[string]int{}
	r := Reader(func(_ context.Context, sql string, args []any, _ func(Scan) error) error {
		statements[sql] = len(args)
		return nil
	})
	for _, only := range [][]int{{1}, {3, 16}, make([]int, 1000)} {
		if _, _, err := r.Metrics(t.Context(), "0123456789abcdef", scu.StepPage{Only: only}); err != nil {
			t.Fatal(err)
		}
	}
	if len(statements) != 1 {
		t.Errorf("%d statements with so many parameters: %v", len(statements), statements)
	}
}
