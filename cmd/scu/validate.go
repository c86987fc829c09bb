package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) validateCommand() *cobra.Command {
	var t submission
	c := &cobra.Command{
		Use:   "validate --base-model MODEL --train-data FILE",
		Short: "Check a job without submitting it: errors, warnings, suggestions",
		Long: `Checks a job as a submission would and prints everything at once. A job that would be
refused ends it with exit code 2. It takes the arguments of scu train.

  scu validate --base-model bookworm-2m --train-data book.txt --set epochs=3`,
		Args: cobra.NoArgs,
	}
	t.flags(c)
	c.RunE = a.call(func(ctx context.Context, api *client.Client, _ []string) error {
		t.targetSet = c.Flags().Changed("target-s")
		req, err := t.unchecked()
		if err != nil {
			return err
		}
		if err := a.uploadAll(ctx, api, &req); err != nil {
			return err
		}
		report, err := api.Validate(ctx, req)
		if err != nil {
			return err
		}
		return a.tellReport(report)
	})
	return c
}

// invalid is the error of a job that would be refused; what is wrong was told.
var invalid = scu.Errorf(scu.CodeInvalid, "the job would be refused")

func (a *app) tellReport(r scu.Report) error {
	if a.json {
		if err := printJSON(a.out, r); err != nil {
			return err
		}
	} else {
		for _, list := range []struct {
			what  string
			found []scu.Finding
		}{{"error", r.Errors}, {"warning", r.Warnings}, {"suggestion", r.Suggestions}} {
			for _, f := range list.found {
				field := ""
				if f.Field != "" {
					field = f.Field + ": "
				}
				fmt.Fprintf(a.out, "%s: %s%s\n", list.what, field, f.Message)
				if f.Suggestion != "" {
					fmt.Fprintf(a.out, "    %s\n", inFlags(f.Suggestion))
				}
			}
		}
	}
	switch {
	case !r.Valid:
		return invalid
	case !a.json:
		fmt.Fprintln(a.out, "valid: the job would be accepted")
	}
	return nil
}
