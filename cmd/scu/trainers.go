package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) trainersCommand() *cobra.Command {
	c := &cobra.Command{
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
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Trainer, strings.Join(t.Classes, ","), jobText(t), memory, age(t.Seen), strings.Join(t.Devices, "; "))
			}
			return w.Flush()
		}),
	}
	c.AddCommand(a.drainCommand(true), a.drainCommand(false))
	return c
}

// jobText is what a trainer runs, and whether it takes another.
func jobText(p scu.Presence) string {
	switch {
	case p.Draining && p.Job != "":
		return p.Job + ", then none"
	case p.Draining:
		return "takes none"
	case p.Job != "":
		return p.Job
	}
	return "-"
}
