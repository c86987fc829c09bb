package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu/api/client"
)

// The commands that halt the queue or a trainer.

func (a *app) queueCommand() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "Pause the whole queue, or resume it: jobs that run go on", RunE: onlySubcommands}
	for _, halt := range []bool{true, false} {
		use, short := "resume", "Hand out jobs again"
		if halt {
			use, short = "pause", "Hand out no jobs until it is resumed"
		}
		c.AddCommand(&cobra.Command{Use: use, Short: short, Args: cobra.NoArgs,
			RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
				return a.tellHalt(api.HaltQueue(ctx, halt))
			})})
	}
	return c
}

func (a *app) drainCommand(drain bool) *cobra.Command {
	use, short := "resume TRAINER", "Let a drained trainer take jobs again"
	if drain {
		use, short = "drain TRAINER", "Let a trainer take no more jobs after the one that it runs"
	}
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			return a.tellHalt(api.Drain(ctx, args[0], drain))
		})}
}

func (a *app) tellHalt(res client.HaltResponse, err error) error {
	if err != nil {
		return err
	}
	return a.done(res, res.Message)
}
