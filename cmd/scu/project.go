package main

import (
	"context"
	"errors"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
)

// project keeps the read model up to date. One that isn't of this log, after a
// restored backup or a power cut, is rebuilt: it holds nothing that the log hasn't.
func (p *process) project(ctx context.Context) error {
	projector := store.NewProjector(p.store, p.broker, store.ProjectorOptions{Log: p.log, Monitor: store.NewMonitor(p.watch)})
	err := projector.Run(ctx)
	for errors.Is(err, scu.ErrOtherLog) {
		p.log.Warn("the read model is not of this log and is rebuilt", "reason", err)
		if err = projector.Rebuild(ctx); err == nil {
			err = projector.Run(ctx)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}
