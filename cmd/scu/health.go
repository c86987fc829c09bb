package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Report whether the server works",
		Long: `Asks the server how it is. The exit code is 0 if it works and 6 if it doesn't or
can't be reached, so that a container's health check is: scu health`,
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, c *client.Client, _ []string) error {
			h, err := c.Health(ctx)
			if err != nil {
				return err
			}
			if a.json {
				err = printJSON(a.out, h)
			} else {
				_, err = fmt.Fprintln(a.out, strings.Join(append([]string{h.Status + copiesOf(h)}, h.Warnings...), "\n"))
			}
			if err == nil && h.Status != client.Healthy {
				err = scu.Errorf(scu.CodeUnavailable, "the server is %s", h.Status)
			}
			return err
		}),
	}
}

// copiesOf says how many servers keep the log; nothing if that is one.
func copiesOf(h client.Health) string {
	if h.Copies == nil {
		return ""
	}
	return fmt.Sprintf("; %d of the log's %d copies are up to date", h.Copies.Current, h.Copies.Kept)
}
