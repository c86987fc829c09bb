package main

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) plotCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plot JOB...",
		Short: "Draw the loss, S and lambda of jobs",
		Long: `Draws a job's loss, S beside its target, and lambda over its steps, from the first to
the newest. Losses of several jobs have one scale.`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			jobs := make([]plotted, len(args))
			for i, id := range args {
				job, err := api.Job(ctx, id)
				if err != nil {
					return err
				}
				steps, err := allSteps(ctx, api, id)
				if err != nil {
					return err
				}
				if len(steps) < 2 {
					return scu.Errorf(scu.CodeConflict, "job %s has %s so far; a chart takes 2", id, scu.Counted(len(steps), "step")).WithHint("see: scu status %s", id)
				}
				jobs[i] = plotted{job, steps}
			}
			if a.json {
				return printJSON(a.out, map[string]any{"jobs": jobs})
			}
			low, high := lossRange(jobs)
			for _, j := range jobs {
				fmt.Fprintf(a.out, "%s %s, %s, %s\n\n%s\n\n%s\n\n", j.Job.ID, shorten(j.Job.Name, 24), j.Job.BaseModel, j.Job.Status,
					lossChart(j.Steps, low, high), chart(j.Steps, j.Job.Config.Control.TargetS))
			}
			return nil
		}),
		ValidArgsFunction: a.completeJobs,
	}
}

// plotted is a job and what is drawn of it.
type plotted struct {
	Job   client.JobDetail `json:"job"`
	Steps []scu.Metrics    `json:"metrics"`
}

// lossRange is the least and the greatest loss of jobs.
func lossRange(jobs []plotted) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, j := range jobs {
		for _, m := range j.Steps {
			low, high = min(low, m.CE), max(high, m.CE)
			if m.ValLoss != nil {
				low, high = min(low, *m.ValLoss), max(high, *m.ValLoss)
			}
		}
	}
	return low, high
}
