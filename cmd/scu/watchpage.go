package main

import (
	"context"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api"
	"github.com/shannon-control/scu/telemetry"
)

// tellMetrics opens the page of a process without an API, if one is set, and closes it
// when ctx ends.
func (p *process) tellMetrics(ctx context.Context, g *errgroup.Group, ready func(context.Context) error) error {
	if p.set.MetricsListen == "" {
		return nil
	}
	if err := api.CheckListen(p.set.MetricsListen, p.set.APIKey); err != nil {
		return err
	}
	l, err := net.Listen("tcp", p.set.MetricsListen)
	if err != nil {
		return scu.Errorf(scu.CodeConflict, "the address of the metrics can't be used: %w", err).
			WithHint("stop the program that listens there, or choose another address with --metrics-listen")
	}
	page := telemetry.Page{Registry: p.watch,
		Ready: func(ctx context.Context) error {
			err := ready(ctx)
			if err != nil {
				p.log.Warn("not ready", "error", err)
			}
			return err
		},
		Guard: func(next http.Handler) http.Handler { return api.Guard(p.set.APIKey, next) },
	}
	p.log.Info("metrics and health", "url", "http://"+l.Addr().String())
	g.Go(func() error { return page.Serve(ctx, l) })
	return nil
}

// projecting returns why a projector can't work: NATS or the database is away.
func (p *process) projecting(ctx context.Context) error {
	if err := p.broker.Ping(ctx); err != nil {
		return err
	}
	return p.store.Ping(ctx)
}
