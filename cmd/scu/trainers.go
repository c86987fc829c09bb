package main

import (
	"context"
	"fmt"
	"strings"

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
			return printList(a, list, "trainers", "NAME\tCLASSES\tJOB\tMEMORY\tSEEN\tDEVICES", list.Trainers, func(t scu.Presence) string {
				memory := "-"
				if t.Memory > 0 {
					memory = mib(t.Memory)
				}
				return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", t.Trainer, strings.Join(t.Classes, ","), jobText(t), memory, age(t.Seen), strings.Join(t.Devices, "; "))
			})
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
