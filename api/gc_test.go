package api

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

func TestGC(t *testing.T) {
	r := start(t, nil)
	for _, method := range []string{"GET", "POST"} {
		status, _, body := r.ask(method, "/gc", "")
		r.refused(t, status, body, 409, scu.CodeConflict, "")
	}
	collected := false
	plan := func(context.Context) ([]scu.Collected, error) {
		return []scu.Collected{
			{Kind: scu.RetainJobs, ID: "a", Bytes: 7, Since: time.Now(), Why: "older than 90d"},
			{Kind: scu.RetainFiles, ID: "b", Bytes: 5, Error: "a job reads it now"},
		}, nil
	}
	r = start(t, func(o *Options) {
		o.Retention = plan
		o.Collect = func(ctx context.Context) ([]scu.Collected, error) { collected = true; return plan(ctx) }
	})
	got, err := r.sdk.PlanGC(t.Context())
	if err != nil || collected || got.Count != 1 || got.Bytes != 7 || len(got.Collected) != 2 || got.Collected[0].Why != "older than 90d" {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = r.sdk.GC(t.Context()); err != nil || !collected || got.Count != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	r = start(t, func(o *Options) {
		o.Retention = func(context.Context) ([]scu.Collected, error) {
			return nil, errors.Join(scu.Errorf(scu.CodeUnavailable, "the read model is behind"))
		}
	})
	if status, _, body := r.ask("GET", "/gc", ""); status != 503 || !strings.Contains(body, "behind") {
		t.Errorf("%d %s", status, body)
	}
}
