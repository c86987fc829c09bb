package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) metricsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics JOB",
		Short: "Print every step of a job, as CSV",
		Long: `Prints every step of a job so far as CSV, or with --json as one object. It is the
adapter's training_metrics.csv with tokens_per_sec: the file holds no times, so that
the same job gives the same bytes.`,
		Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			if a.json {
				steps, err := allSteps(ctx, api, args[0])
				if err != nil {
					return err
				}
				return printJSON(a.out, map[string]any{"job_id": args[0], "metrics": steps})
			}
			return api.MetricsCSV(ctx, args[0], a.out)
		}),
		ValidArgsFunction: a.completeJobs,
	}
}

// allSteps are a job's steps so far, never nil.
func allSteps(ctx context.Context, api *client.Client, id string) ([]scu.Metrics, error) {
	steps := []scu.Metrics{}
	for after, more := 0, true; more; {
		page, err := api.Metrics(ctx, id, after, 0)
		if err != nil {
			return nil, err
		}
		steps = append(steps, page.Metrics...)
		after, more = page.Next, page.HasMore
	}
	return steps, nil
}
