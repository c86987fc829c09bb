package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// The commands that ask for jobs, one by one or all.

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status JOB",
		Short: "Show a job's status",
		Args:  cobra.ExactArgs(1),

		ValidArgsFunction: a.completeJobs,
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			s, err := api.Status(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, s)
			}
			a.printStatus(s)
			return nil
		}),
	}
}

func (a *app) printStatus(s client.JobStatus) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	defer w.Flush()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("Job", "%s", s.JobID)
	if s.Name != "" {
		row("Name", "%s", s.Name)
	}
	if s.Owner != "" {
		row("Owner", "%s", s.Owner)
	}
	row("Model", "%s", s.BaseModel)
	switch {
	case s.SilentSeconds > 0:
		row("Status", "%s, without a sign of its trainer for %d s", s.Status, s.SilentSeconds)
	case s.EndedEarly != "":
		row("Status", "%s %s", s.Status, s.EndedEarly)
	default:
		row("Status", "%s", s.Status)
	}
	if s.Status == scu.Scheduled && s.NotBefore != nil {
		row("Queued at", "%s", local(s.NotBefore))
	}
	if s.Stopping {
		row("Stopping", "it ends after its present step, with what it has learned")
	}
	if s.QueuePosition > 0 {
		row("Queue", "%s", placeText(s))
	}
	if s.CurrentPhase != "" {
		row("Phase", "%s", phaseText(s.CurrentPhase))
	}
	if s.TotalSteps > 0 {
		row("Step", "%d of %d (%.0f%%)", s.Step, s.TotalSteps, s.ProgressPercent)
	}
	if m := s.Metrics; m != nil {
		row("Loss", "%.4f nats a token with the regulariser, CE %.4f without", m.Loss, m.CE)
		if m.ValLoss != nil {
			row("Validation loss", "%.4f", *m.ValLoss)
		}
		row("S", "%.4g (target %g)", m.S, m.TargetS)
		row("Lambda", "%s", lambdaText(m.LambdaNext, m.LambdaMin, m.LambdaMax))
	}
	row("Created", "%s (%s ago)", local(&s.CreatedAt), age(s.CreatedAt))
	if s.StartedAt != nil {
		row("Started", "%s (%s ago)", local(s.StartedAt), age(*s.StartedAt))
	}
	if ran := s.Ran(time.Now()); ran > 0 {
		row("Ran", "%s", roughly(ran.Seconds()))
	}
	if s.CompletedAt != nil {
		row("Ended", "%s (%s ago)", local(s.CompletedAt), age(*s.CompletedAt))
	}
	if s.Attempt > 1 {
		row("Attempt", "%d", s.Attempt)
	}
	for _, warning := range s.Warnings {
		row("Warning", "%s", warning)
	}
	if s.ErrorMessage != nil {
		row("Error", "%s", *s.ErrorMessage)
	}
	if s.AdapterPath != nil {
		row("Adapter", "scu download %s --output-dir adapters", s.JobID)
	}
}

// place is a queued job's place; of a long queue not all is counted.
func place(s client.JobStatus) string {
	if s.QueuedBefore != nil && s.QueuedBefore.More {
		return fmt.Sprintf("%d or later", s.QueuePosition)
	}
	return strconv.Itoa(s.QueuePosition)
}

// placeText is a queued job's place, and what is before it.
func placeText(s client.JobStatus) string {
	text := fmt.Sprintf("%s of class %s", place(s), s.Class)
	if b := s.QueuedBefore; b != nil && !b.More && b.HigherPriority+b.OtherOwners > 0 {
		text += fmt.Sprintf(": %d of higher priority and %d of the same are before it", b.HigherPriority, b.SamePriority)
		if b.OtherOwners > 0 {
			text += fmt.Sprintf(", and up to %d of other owners", b.OtherOwners)
		}
	}
	if s.QueuePaused {
		text += "; the queue is paused"
	}
	if s.NoTrainer {
		text += "; it waits for " + s.WaitsFor + ": none is there"
	}
	return text
}

func (a *app) jobsCommand() *cobra.Command {
	var filter client.JobsFilter
	var status string
	names := make([]string, len(scu.Statuses))
	for i, s := range scu.Statuses {
		names[i] = string(s)
	}
	c := &cobra.Command{
		Use:   "jobs",
		Short: "List jobs, newest first",
		Args:  cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			if filter.Status = scu.Status(status); status != "" && !slices.Contains(scu.Statuses, filter.Status) {
				return scu.Errorf(scu.CodeInvalid, "--status: unknown status %q", status).WithHint("use one of: %s", strings.Join(names, ", "))
			}
			if filter.Limit < 1 || filter.Limit > 1000 {
				return scu.Errorf(scu.CodeInvalid, "--limit: %d is not from 1 to 1000", filter.Limit).WithHint("more come with --after")
			}
			filter.After = scu.OwnID(filter.After)
			list, err := api.Jobs(ctx, filter)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, list)
			}
			if len(list.Jobs) == 0 {
				fmt.Fprintln(a.out, "No jobs found")
				return nil
			}
			if filter.GivenUp {
				for _, j := range list.Jobs {
					fmt.Fprintf(a.out, "%s  %s ago  %v\n", j.JobID, age(*j.CompletedAt), j.Error)
				}
				return nil
			}
			return a.printJobs(list.Jobs)
		}),
	}
	c.Flags().BoolVar(&filter.GivenUp, "dead", false, "only those that were given up after all their attempts, with the reason; retry them with scu retry --dead")
	c.Flags().StringVar(&filter.Owner, "owner", "", "only those of this owner (scu keys)")
	c.Flags().StringVar(&filter.Search, "search", "", "only those whose name or base model contains this, or whose id begins with it")
	c.Flags().StringVar(&status, "status", "", "only those that are "+strings.Join(names, ", "))
	c.Flags().IntVar(&filter.Limit, "limit", 20, "how many jobs")
	c.Flags().StringVar(&filter.After, "after", "", "continue after this job, the last one of the previous list")
	completes(c, "status", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	completes(c, "after", a.completeJobs)
	return c
}

func (a *app) cancelCommand() *cobra.Command {
	return a.actionCommand((*client.Client).Cancel, "cancel JOB", "Cancel a job")
}

func (a *app) stopCommand() *cobra.Command {
	c := a.actionCommand((*client.Client).Stop, "stop JOB", "End a running job now and keep what it has learned")
	c.Long = `Ends a running job after its present step. It completes with its adapter: the best
weights so far, or the last (see the setting keep). scu cancel drops them instead.`
	return c
}

func (a *app) pauseCommand() *cobra.Command {
	return a.actionCommand((*client.Client).Pause, "pause JOB", "Take a job out of the queue, and from its trainer, until it is resumed")
}

func (a *app) resumeCommand() *cobra.Command {
	return a.actionCommand((*client.Client).Resume, "resume JOB", "Queue a paused job again, or a scheduled one now")
}

// actionCommand is a command that does one thing to one job and tells what became of it.
func (a *app) actionCommand(act func(*client.Client, context.Context, string) (client.CancelResponse, error), use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs,
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			return a.tellEnding(act(api, ctx, args[0]))
		}),
	}
}

// tellEnding tells what became of a job that was to end, halt or go on.
func (a *app) tellEnding(res client.CancelResponse, err error) error {
	if err != nil {
		return err
	}
	return a.done(res, res.Message)
}

func (a *app) downloadCommand() *cobra.Command {
	var dir, step, kind string
	var keep bool
	c := &cobra.Command{
		Use:   "download JOB --output-dir DIR",
		Short: "Download a trained adapter",
		Long: `Downloads a completed job's adapter, checks its sha256, and unpacks it into
DIR/JOB_adapter, a folder that PEFT loads. With --zip it is left as a zip. With --gguf
it is one file for llama.cpp's --lora, DIR/JOB_adapter.gguf, with weights of that type.`,
		Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			var path string
			var err error
			if kind == "" {
				path, err = a.download(ctx, api, args[0], step, dir, keep)
			} else {
				progress, done := a.bytesBar("downloading")
				path, err = api.DownloadGGUF(ctx, args[0], kind, dir, progress)
				done()
			}
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, map[string]string{"job_id": args[0], "path": path})
			}
			fmt.Fprintf(a.out, "Adapter downloaded to: %s\n", path)
			return nil
		}),
		ValidArgsFunction: a.completeJobs,
	}
	c.Flags().StringVar(&dir, "output-dir", "", "folder for the adapter, created if missing")
	c.Flags().StringVar(&step, "checkpoint", "", "the adapter as it was after this step, or last, or best; see scu checkpoints")
	c.Flags().BoolVar(&keep, "zip", false, "keep the zip that the server sends")
	c.Flags().StringVar(&kind, "gguf", "", "as GGUF, with weights of this type: f32, f16, bf16 or q8_0")
	c.MarkFlagsMutuallyExclusive("gguf", "checkpoint")
	c.MarkFlagsMutuallyExclusive("gguf", "zip")
	completes(c, "gguf", cobra.FixedCompletions(ggufTypes, cobra.ShellCompDirectiveNoFileComp))
	required(c, "output-dir")
	return c
}

// download fetches a job's adapter, or the checkpoint of a step, into dir and returns its
// folder, or the zip's path if that is asked for.
func (a *app) download(ctx context.Context, api *client.Client, id, step, dir string, asZip bool) (path string, err error) {
	progress, done := a.bytesBar("downloading")
	if step == "" {
		path, err = api.DownloadAdapter(ctx, id, dir, progress)
	} else {
		path, err = api.DownloadCheckpoint(ctx, id, step, dir, progress)
	}
	done()
	if err != nil || asZip {
		return path, err
	}
	folder := strings.TrimSuffix(path, ".zip")
	if err := client.Unzip(path, folder); err != nil {
		return "", err
	}
	return folder, os.Remove(path)
}
