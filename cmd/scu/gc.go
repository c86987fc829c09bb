package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/retention"
)

func (a *app) gcCommand() *cobra.Command {
	var dry bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "Remove what the retention policy no longer keeps",
		Long: `Removes what is older, or more, than the server's --keep allows, which it also does by
itself every hour. What a job that has not ended, or a comparison, needs stays. It can't be
undone; --dry-run only lists what would go, and why.`,
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			ask := api.GC
			if dry {
				ask = api.PlanGC
			}
			res, err := ask(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, res)
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for i, x := range res.Collected {
				if i == 0 {
					fmt.Fprintln(w, "KIND\tID\tBYTES\tAGE\tWHY")
				}
				if x.Error != "" {
					x.Why = "stays: " + x.Error
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", x.Kind, x.ID, thousands(x.Bytes), age(x.Since), x.Why)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			verb := "removed"
			if dry {
				verb = "to remove"
			}
			_, err = fmt.Fprintf(a.out, "%s: %d, %s bytes\n", verb, res.Count, thousands(res.Bytes))
			return err
		}),
	}
	c.Flags().BoolVar(&dry, "dry-run", false, "only list what would go")
	return c
}

// gcEvery is how often the policy is applied.
const gcEvery = time.Hour

// collector applies the policy; nil if there is none.
func (p *process) collector(f scu.FileStore) *retention.Collector {
	policy, err := scu.ParseRetention(p.set.Keep)
	if err != nil || len(policy) == 0 { // it was checked with the settings
		return nil
	}
	return &retention.Collector{Policy: policy, Log: p.broker, Store: p.store, Files: f, Blobs: p.broker.Blobs(),
		Shared: p.sharedCheckpoints(p.broker), Now: time.Now, Wait: scu.Sleep}
}

// collect applies the policy every hour until ctx ends.
func (p *process) collect(ctx context.Context) error {
	if p.gc == nil {
		return nil
	}
	for scu.Sleep(ctx, gcEvery) == nil {
		all, err := p.gc.Collect(ctx)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			p.log.Warn("the retention policy can't be applied now", "error", err)
		}
		for _, x := range all {
			p.log.Info("collected", "kind", x.Kind, "id", x.ID, "bytes", x.Bytes, "why", x.Why, "error", x.Error)
		}
	}
	return nil
}
