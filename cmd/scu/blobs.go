package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) blobsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "blobs",
		Short: "What is damaged of the stored data, adapters and checkpoints",
		Long: `Lists the stored data, adapters and checkpoints that are known to be damaged or lost. An
API reads all of them every --verify-every; scu blobs verify does at once, and scu blobs put
mends.`,
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			report, err := api.Blobs(ctx)
			if err != nil {
				return err
			}
			return a.tellDamage(report)
		}),
	}
	c.AddCommand(a.verifyCommand(), a.mendCommand())
	return c
}

func (a *app) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read all stored blobs, and list what is damaged",
		Long: `Has the server read all stored data, adapters and checkpoints and compare them with the
sums that they should have, at the server's --verify-rate, and waits until it has. Interrupted,
the server goes on; scu blobs tells how far it is. The exit code is 1 if anything is damaged.`,
		Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			report, err := api.VerifyBlobs(ctx)
			if err == nil {
				err = a.tellDamage(report)
			}
			if err == nil && report.Count > 0 {
				err = scu.Errorf(scu.CodeDamaged, "%d stored blobs are damaged or lost", report.Count).
					WithHint("scu blobs put FILE mends with a copy of the right bytes; the same data uploaded again, or the same job run again, has the same bytes")
			}
			return err
		}),
	}
}

func (a *app) mendCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "put FILE",
		Short: "Mend damaged blobs with a file that has the right bytes",
		Long: `Puts a file, such as a copy of an adapter's zip, in the place of the damaged blobs that
should have its bytes. A file of other bytes is refused.`,
		Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			progress, done := a.bytesBar("sending " + filepath.Base(args[0]))
			report, err := api.PutBlob(ctx, args[0], progress)
			done()
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, report)
			}
			for _, d := range report.Damaged {
				fmt.Fprintf(a.out, "mended: %s\n", d.Key())
			}
			return nil
		}),
	}
}

// tellDamage prints what is damaged, and when all was read.
func (a *app) tellDamage(r client.BlobReport) error {
	if a.json {
		return printJSON(a.out, r)
	}
	if len(r.Damaged) > 0 {
		t := newTable(a.out, "KIND\tNAME\tJOB\tFILE\tBYTES\tFOUND\tWHY")
		for _, d := range r.Damaged {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.Kind, d.Name, d.Job, shorten(d.Title, 32), thousands(d.Size), age(d.FoundAt), d.Why)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(a.out, "damaged: %d; %s\n", r.Count, verifiedText(r.Verification))
	return err
}

// verifiedText says how far the reading of all blobs is.
func verifiedText(v scu.Verification) string {
	read := fmt.Sprintf("%s, %s bytes", scu.Counted(v.Blobs, "blob"), thousands(v.Bytes))
	if v.Unread > 0 {
		read += fmt.Sprintf("; %d could not be read", v.Unread)
	}
	switch {
	case v.BegunAt.IsZero():
		return "not all were read yet"
	case v.EndedAt == nil:
		return "being read: " + read + " so far"
	}
	if v.Unread > 0 {
		return fmt.Sprintf("%s ago all others were read: %s, and are read again every hour", age(*v.EndedAt), read)
	}
	return fmt.Sprintf("all were read %s ago: %s", age(*v.EndedAt), read)
}
