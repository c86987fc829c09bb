package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/trainer/base"
)

func (a *app) checkpointsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "checkpoints JOB",
		Short: "List the adapters that a job kept at validations",
		Long: `Lists the adapters that a job kept at validations, also if it failed or was
cancelled. Fetch one with scu download JOB --checkpoint STEP, or use it at once:

  scu eval --base-model bookworm-2m --adapter JOB@STEP --data val.txt`,
		Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			list, err := api.Checkpoints(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, list)
			}
			if list.Count == 0 {
				fmt.Fprintln(a.out, "No checkpoints")
				return nil
			}
			w := newTable(a.out, "STEP\tVALIDATION LOSS\tCE\tS\tCREATED\t")
			for _, c := range list.Checkpoints {
				loss, best := "-", ""
				if c.ValLoss != nil {
					loss = fmt.Sprintf("%.4f", *c.ValLoss)
				}
				if c.Best {
					best = "best"
				}
				fmt.Fprintf(w, "%d\t%s\t%.4f\t%.4g\t%s\t%s\n", c.Step, loss, c.CE, c.S, local(&c.CreatedAt), best)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if list.Status == scu.Failed || list.Status == scu.Cancelled {
				fmt.Fprintf(a.err, "scu: warning: the job is %s: these are of a run that never ended\n", list.Status)
			}
			return nil
		}),
		ValidArgsFunction: a.completeJobs,
	}
}

// withAdapter calls f with an adapter's folder. name is a folder, or a job of the server,
// with @STEP, @last or @best one of its checkpoints, which is fetched for the time of
// the call; "" is no adapter.
func (a *app) withAdapter(ctx context.Context, s Settings, name string, f func(dir string) error) error {
	id, step, _ := strings.Cut(scu.OwnID(name), "@")
	if _, err := os.Stat(name); err == nil || !scu.ValidJobID(id) {
		return f(name)
	}
	api, err := client.New(s.APIURL, s.APIKey)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "scu-adapter-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dir, err := a.download(ctx, api, id, step, tmp, false)
	if err != nil {
		return err
	}
	return f(dir)
}

// uploadAdapter sends an adapter's folder, or a zip of one, and returns what the server is
// told of it. A job's name goes as it is.
func (a *app) uploadAdapter(ctx context.Context, api *client.Client, named string) (string, error) {
	info, err := os.Stat(named)
	if named == "" || err != nil {
		return scu.OwnID(named), nil
	}
	path := named
	if info.IsDir() {
		tmp, err := os.MkdirTemp("", "scu-adapter-")
		if err != nil {
			return "", err
		}
		defer os.RemoveAll(tmp)
		path = filepath.Join(tmp, filepath.Base(filepath.Clean(named))+".zip")
		if err := zipAdapter(path, named); err != nil {
			return "", scu.Errorf(scu.CodeInvalid, "--from-adapter: %w", err)
		}
	}
	progress, done := a.bytesBar("uploading " + filepath.Base(path))
	f, err := api.UploadFile(ctx, path, progress)
	done()
	return f.ID, err
}

func zipAdapter(path, dir string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(base.ZipAdapter(out, dir), out.Close())
}
