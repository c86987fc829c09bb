//go:build unix

package main

import (
	"context"
	"path/filepath"
	"reflect"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/postgres"
	"github.com/shannon-control/scu/store/sqlite"
)

// compareWithReplay replays the log into an empty database of another kind: the read model
// has the same jobs and steps, row for row.
func (x *chaos) compareWithReplay(ctx context.Context) {
	live, err := postgres.Open(ctx, x.dbURL)
	check(x.t, err)
	defer live.Close()
	replayed, err := sqlite.Open(ctx, filepath.Join(x.t.TempDir(), "replay.db"))
	check(x.t, err)
	defer replayed.Close()
	check(x.t, store.NewProjector(replayed, x.operator, store.ProjectorOptions{}).Rebuild(ctx))
	ids := map[string]bool{}
	for _, m := range []scu.ReadModel{live, replayed} {
		for f := (scu.JobFilter{Limit: 100}); ; {
			page, err := m.Jobs(ctx, f)
			check(x.t, err)
			for _, j := range page {
				ids[j.Job.ID], f.After = true, j.Job.ID
			}
			if len(page) < f.Limit {
				break
			}
		}
	}
	for id := range ids {
		a, b := x.rowsOf(ctx, live, id), x.rowsOf(ctx, replayed, id)
		if !reflect.DeepEqual(a, b) {
			x.t.Errorf("job %s: the read model has %+v, a replay of the log %+v", id, a, b)
		}
	}
}

// rows are what a read model has of a job.
type rows struct {
	Job      scu.Job
	Progress scu.Progress
	Steps    []scu.Metrics
}

func (x *chaos) rowsOf(ctx context.Context, m scu.ReadModel, id string) (r rows) {
	var err error
	r.Job, r.Progress, err = m.Job(ctx, id)
	if err != nil {
		x.t.Errorf("job %s in a read model: %v", id, err)
		return r
	}
	r.Steps, _, err = m.Metrics(ctx, id, scu.StepPage{Limit: 1000})
	check(x.t, err)
	return r
}
