package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) retryCommand() *cobra.Command {
	var all client.RetryRequest
	var code string
	c := &cobra.Command{
		Use:   "retry [JOB ...]",
		Short: "Queue jobs again that failed or were cancelled",
		Long: `Queues jobs again that failed or were cancelled. A failed one goes on from its last
checkpoint; with --from-start it begins anew. --dead takes every job that was given up
after all its attempts (see scu jobs --dead), and --error those that failed with a code.`,
		ValidArgsFunction: a.completeJobs,
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			all.ErrorCode = scu.Code(code)
			if len(args) == 1 && !all.GivenUp && code == "" {
				return a.tellEnding(api.Retry(ctx, args[0], all.FromStart))
			}
			if (len(args) > 0) == (all.GivenUp || code != "") {
				return scu.Errorf(scu.CodeInvalid, "name jobs, or use --dead or --error")
			}
			all.JobIDs = args
			res, err := api.RetryAll(ctx, all)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, res)
			}
			for _, r := range res.Refused {
				fmt.Fprintf(a.err, "scu: %v\n", r.Error)
			}
			_, err = fmt.Fprintf(a.out, "Queued again: %d, refused: %d\n", len(res.Retried), len(res.Refused))
			return err
		}),
	}
	f := c.Flags()
	f.BoolVar(&all.FromStart, "from-start", false, "begin anew instead of from the last checkpoint")
	f.BoolVar(&all.GivenUp, "dead", false, "all jobs that were given up after all their attempts")
	f.StringVar(&code, "error", "", "all failed jobs whose error has this code, such as out_of_memory")
	return c
}
