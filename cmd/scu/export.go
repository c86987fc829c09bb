package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/atomicfile"
)

func (a *app) exportCommand() *cobra.Command {
	var to, out string
	c := &cobra.Command{
		Use:   "export JOB",
		Short: "Write every step of a job for other programs: CSV, JSON lines, TensorBoard",
		Long: `Writes every step of a job so far: as CSV or JSON lines to --out, by default to the
terminal; or as an event file that TensorBoard reads, below the folder --out.

  scu export JOB --to jsonl --out steps.jsonl
  scu export JOB --to tensorboard --out runs && tensorboard --logdir runs`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().StringVar(&to, "to", "csv", "csv, jsonl or tensorboard")
	c.Flags().StringVar(&out, "out", "", "file, or TensorBoard's folder of runs (by default runs)")
	c.RunE = a.call(func(ctx context.Context, api *client.Client, args []string) error {
		switch to {
		case "csv":
			return a.exportTo(out, func(w io.Writer) error { return api.MetricsCSV(ctx, args[0], w) })
		case "jsonl", "tensorboard":
		default:
			return scu.Errorf(scu.CodeInvalid, "%q is no form of export", to).At("to").WithHint("use csv, jsonl or tensorboard")
		}
		steps, err := allSteps(ctx, api, args[0])
		if err != nil {
			return err
		}
		if to == "jsonl" {
			return a.exportTo(out, func(w io.Writer) error { return writeLines(w, steps) })
		}
		if out == "" {
			out = "runs"
		}
		// One folder a run; the name of the file is the same each time, so that a later export
		// takes its place.
		path := filepath.Join(out, args[0], "events.out.tfevents.0."+args[0])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return a.exportTo(path, func(w io.Writer) error { return writeEvents(w, steps) })
	})
	return c
}

// exportTo writes to a file, whole or not at all, or to the terminal if path is "".
func (a *app) exportTo(path string, write func(io.Writer) error) error {
	if path == "" {
		return write(a.out)
	}
	err := atomicfile.Write(path, 0o644, func(w io.Writer) error {
		buffered := bufio.NewWriter(w)
		if err := write(buffered); err != nil {
			return err
		}
		return buffered.Flush()
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return scu.Errorf(scu.CodeInvalid, "the export: %w", err).WithHint("choose another place with --out")
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.err, "Written to: %s\n", path)
	return err
}

func writeLines(w io.Writer, steps []scu.Metrics) error {
	e := json.NewEncoder(w)
	for i := range steps {
		if err := e.Encode(&steps[i]); err != nil {
			return err
		}
	}
	return nil
}
