package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu/api/client"
)

func (a *app) trainersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "trainers",
		Short: "List the live trainers, with their devices",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			list, err := api.Trainers(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, list)
			}
			if len(list.Trainers) == 0 {
				fmt.Fprintln(a.out, "No trainers found")
				return nil
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tCLASSES\tJOB\tMEMORY\tSEEN\tDEVICES")
			for _, t := range list.Trainers {
				memory := "-"
				if t.Memory > 0 {
					memory = mib(t.Memory)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Trainer, strings.Join(t.Classes, ","), cmp.Or(t.Job, "-"), memory, age(t.Seen), strings.Join(t.Devices, "; "))
			}
			return w.Flush()
		}),
	}
}
