package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// The commands for what the server keeps: files, and the deletion of them and of jobs.

func (a *app) filesCommand() *cobra.Command {
	var after string
	var limit int
	c := &cobra.Command{
		Use:   "files",
		Short: "List the files that the server keeps",
		Long: `Lists uploads and the data that submissions brought, by their ids. A file that no
queued or running job needs can be deleted: scu delete.`,
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			list, err := api.Files(ctx, after, limit)
			if err != nil {
				return err
			}
			err = printList(a, list, "files", "ID\tNAME\tBYTES\tAGE", list.Files, func(f scu.File) string {
				line := fmt.Sprintf("%s\t%s\t%s\t%s", f.ID, shorten(f.Name, 32), thousands(f.Size), age(f.CreatedAt))
				if f.Damaged {
					line += "\tdamaged"
				}
				return line
			})
			if err != nil || a.json || !list.HasMore {
				return err
			}
			_, err = fmt.Fprintf(a.err, "there are more: scu files --after %s\n", list.Next)
			return err
		}),
	}
	c.Flags().IntVar(&limit, "limit", 100, "how many")
	c.Flags().StringVar(&after, "after", "", "continue after this file, the last one of the previous list")
	return c
}

func (a *app) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "delete JOB|FILE",
		Short: "Delete a job that has ended, or a file",
		Long: `Deletes a job that has ended, with its metrics, adapter and checkpoints, or a file
that no queued or running job needs. It can't be undone.`,
		Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			remove := api.DeleteJob
			if scu.ValidFileID(args[0]) {
				remove = api.DeleteFile
			}
			res, err := remove(ctx, args[0])
			if err != nil {
				return err
			}
			return a.done(res, res.Message)
		}),
		ValidArgsFunction: a.completeJobs,
	}
}
