package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu/store"
)

// The roles of a service that is spread over processes or machines, which meet at
// a NATS server. Each waits for the others to come up, in whatever order they are
// started.

func (a *app) apiCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "api",
		Short: "Run the API alone, against a NATS server",
		Long: `Runs the API against the NATS server of SCU_NATS_URL, whose streams it sets up,
and the read model, which scu projector keeps up to date.`,
		Args: cobra.NoArgs,
		RunE: a.role(func(ctx context.Context, s Settings, _ []string) error {
			begin := time.Now()
			p, err := newProcess(ctx, "api", s)
			if err != nil {
				return err
			}
			defer p.close()
			l, err := p.listen()
			if err != nil {
				return err
			}
			defer l.Close()
			if err := p.openBlobs(ctx); err != nil {
				return err
			}
			if err := p.dialNATS(ctx); err != nil {
				return err
			}
			if err := p.patiently(ctx, func() error { return p.broker.Setup(ctx) }); err != nil {
				return err
			}
			if err := p.patiently(ctx, func() error { return p.openStore(ctx) }); err != nil {
				return err
			}
			server, err := p.newAPI()
			if err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return server.Serve(ctx, l) })
			g.Go(func() error { p.broker.Supervise(ctx, superviseEvery); return nil })
			g.Go(func() error { return p.collect(ctx) })
			g.Go(func() error { p.scrub.Run(ctx); return nil })
			g.Go(func() error { p.arbiter.Serve(ctx); return nil })
			if p.set.AdaptersDir != "" {
				g.Go(func() error { return p.copyAdapters(ctx) })
			}
			if err := a.tellRole("api", "api_url", "http://"+l.Addr().String(), begin); err != nil {
				return err
			}
			return g.Wait()
		}),
	}
	addFlags(c.Flags(), apiFlags)
	return c
}

func (a *app) trainerCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "trainer",
		Short: "Run trainers alone, against a NATS server",
		Long: `Runs trainers that take jobs from the NATS server of SCU_NATS_URL; without it, from
a scu serve on the same data folder that was started with --nats-listen. On SIGTERM
or Ctrl-C the running jobs are checkpointed and queued again.`,
		Args: cobra.NoArgs,
		RunE: a.role(func(ctx context.Context, s Settings, _ []string) error {
			begin := time.Now()
			p, err := newProcess(ctx, "trainer", s)
			if err != nil {
				return err
			}
			defer p.close()
			if err := p.openBlobs(ctx); err != nil {
				return err
			}
			if err := p.dialNATS(ctx); err != nil {
				return err
			}
			trainers, ping, err := p.remoteTrainers(ctx)
			if err != nil {
				return err
			}
			g, ctx := errgroup.WithContext(ctx)
			if err := p.tellMetrics(ctx, g, ping); err != nil {
				return err
			}
			for _, t := range trainers {
				g.Go(func() error {
					return p.patiently(ctx, func() error { return t.Run(ctx) })
				})
			}
			if err := a.tellRole("trainer", "name", trainers[0].Name, begin); err != nil {
				return err
			}
			return g.Wait()
		}),
	}
	addFlags(c.Flags(), trainerFlags)
	return c
}

func (a *app) projectorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "projector",
		Short: "Keep the read model up to date, or rebuild it",
		Long: `Moves what happens from the log at SCU_NATS_URL into the read model. With --rebuild
it empties the read model, replays the log into it, and ends; without SCU_NATS_URL
that is done on the data folder of a scu serve that is stopped. With
SCU_ARBITER_NATS_URL it also answers trainers, whether it projects or stands by, so
that they go on while no API runs; --claim-time, --ageing and --blobs are then to be
those of the API.`,
		Args: cobra.NoArgs,
	}
	addFlags(c.Flags(), projectorFlags)
	rebuild := c.Flags().Bool("rebuild", false, "empty the read model, replay the log into it, and exit")
	c.RunE = a.role(func(ctx context.Context, s Settings, _ []string) error {
		begin := time.Now()
		p, err := newProcess(ctx, "projector", s)
		if err != nil {
			return err
		}
		defer p.close()
		if s.NATSURL == "" && *rebuild {
			p.set.NATSListen = ""
			err = p.startNATS(ctx)
		} else {
			err = p.dialNATS(ctx)
		}
		if err != nil {
			return err
		}
		if !*rebuild {
			if err := p.answerTrainers(ctx); err != nil {
				return err
			}
		}
		if err := p.patiently(ctx, func() error { return p.openStore(ctx) }); err != nil {
			return err
		}
		if !*rebuild {
			g, ctx := errgroup.WithContext(ctx)
			if err := p.tellMetrics(ctx, g, p.projecting); err != nil {
				return err
			}
			if err := a.tellRole("projector", "read_model", p.readModel(), begin); err != nil {
				return err
			}
			g.Go(func() error { return p.project(ctx) })
			return g.Wait()
		}
		projector := store.NewProjector(p.store, p.broker, store.ProjectorOptions{Log: p.log})
		if err := projector.Rebuild(ctx); err != nil {
			return err
		}
		at := projector.Position()
		if a.json {
			return printJSON(a.out, map[string]uint64{"state": at.State, "metrics": at.Metrics, "skipped": projector.Skipped()})
		}
		_, err = fmt.Fprintf(a.out, "rebuilt from %d state entries and %d metrics\n", at.State, at.Metrics)
		return err
	})
	return c
}

// tellRole says that a role works; where names its address, its trainers' name or
// nothing.
func (a *app) tellRole(role, what, where string, begin time.Time) error {
	if a.json {
		return printJSON(a.out, map[string]string{"role": role, what: where})
	}
	if where != "" {
		where = " as " + where
	}
	_, err := fmt.Fprintf(a.out, "scu %s: ready%s after %.2f s\n", role, where, time.Since(begin).Seconds())
	return err
}
