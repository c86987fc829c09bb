package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// comparison is what scu compare was asked for.
type comparison struct {
	submission
	settings, sweep []string
	random          int
	randomSeed      int64
	seeds           string
	resume, best    string
	csv, detach     bool
}

// standardSettings are compared if none are named.
var standardSettings = []string{"lambda=0", "lambda=1", "lambda=3", "lambda=10", "scu", "log_pi,target=0.004", "log_pi,target=0.008"}

func (a *app) compareCommand() *cobra.Command {
	var t comparison
	c := &cobra.Command{
		Use:   "compare --base-model MODEL --train-data FILE [--setting SETTING]...",
		Short: "Train under several settings and seeds, and compare",
		Long: `Trains a model on the same data, for as many tokens, under each setting with each seed,
as ordinary jobs, and prints a table with what may be concluded. A setting is

  lambda=3             lambda fixed; lambda=0 is LoRA without a regulariser
  log_pi, scu          a control law
  published            the published code as it is, whose regulariser has no gradient
  target=0.004, rank=8, alpha=16, rate=1e-3, sigma=0.1, or any field=value

or several of these joined by commas. --sweep spans a grid of fields instead, or with
--random draws so many settings of it; --best writes the best setting for scu train
--config. Without either, the laws are compared with fixed lambdas.

Comparisons go on by themselves; one with --name that is asked for again goes on, and
what failed or was cancelled in it begins anew, as with --resume.

  scu compare --base-model bookworm-2m --train-data book.txt --set epochs=5
  scu compare --base-model bookworm-2m --train-data book.txt --setting lambda=0 --setting log_pi,target=0.004 --seeds 5
  scu compare --base-model gpt2 --train-data chat.jsonl --sweep rank=4,8,16 --sweep rate=1e-4,3e-4 --best best.json
  scu compare --base-model gpt2 --train-data chat.jsonl --sweep rate=1e-5..1e-3 --sweep rank=4,16 --random 8
  scu compare --resume 0123456789abcdef`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&t.baseModel, "base-model", "", "as for scu train")
	completes(c, "base-model", completeModels)
	f.StringArrayVar(&t.trainData, "train-data", nil, trainDataUsage)
	f.StringVar(&t.valData, "val-data", "", "validation data; default: a share of the training data is held out")
	f.StringVar(&t.otherData, "other-data", "", "text of another kind: its loss tells what is kept of the base")
	f.StringVar(&t.fromAdapter, "from-adapter", "", "adapter that all runs begin from, as for scu train")
	f.StringVar(&t.name, "name", "", "a name for people; the same comparison under it again goes on")
	f.IntVar(&t.priority, "priority", 0, "of the jobs: higher runs first, -100 to 100")
	f.StringVar(&t.configFile, "config", "", "JSON file of configuration fields of all runs")
	f.StringArrayVar(&t.set, "set", nil, "one configuration field of all runs, such as epochs=5, may be repeated")
	if err := c.RegisterFlagCompletionFunc("set", completeSet); err != nil {
		panic(err) // no such flag, or registered twice
	}
	f.StringArrayVar(&t.settings, "setting", nil, "a setting to compare, may be repeated")
	f.StringArrayVar(&t.sweep, "sweep", nil, "a field with its values (rank=4,8) or a range (rate=1e-5..1e-3), may be repeated")
	f.IntVar(&t.random, "random", 0, "draw so many settings of the sweep instead of trying its whole grid")
	f.Int64Var(&t.randomSeed, "random-seed", 0, "which settings are drawn")
	f.StringVar(&t.seeds, "seeds", "3", "how many seeds, from 42 on, or a list such as 1,2,3")
	f.StringVar(&t.resume, "resume", "", "go on with this comparison")
	f.StringVar(&t.best, "best", "", "write the best setting's configuration to this file, for --config")
	f.BoolVar(&t.csv, "csv", false, "print the runs as CSV")
	f.BoolVar(&t.detach, "detach", false, "don't wait for the end")
	c.RunE = a.call(func(ctx context.Context, api *client.Client, _ []string) error { return a.compare(ctx, api, t) })
	c.AddCommand(a.compareListCommand(), a.compareShowCommand(), a.compareCancelCommand())
	return c
}

func (a *app) compareListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List comparisons, newest first", Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			list, err := api.Comparisons(ctx)
			if err != nil {
				return err
			}
			return printList(a, list, "comparisons", "COMPARISON\tNAME\tMODEL\tSETTINGS\tSEEDS\tRUNS", list.Comparisons, func(c client.ComparisonSummary) string {
				return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%d", c.ID, cmp.Or(c.Name, "-"), c.BaseModel, len(c.Settings), len(c.Seeds), c.Runs)
			})
		}),
	}
}

func (a *app) compareShowCommand() *cobra.Command {
	var asCSV bool
	c := &cobra.Command{
		Use: "show COMPARISON", Short: "Show a comparison as it stands", Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			r, err := api.Comparison(ctx, args[0])
			if err != nil {
				return err
			}
			return a.tellComparison(r, asCSV)
		}),
	}
	c.Flags().BoolVar(&asCSV, "csv", false, "print the runs as CSV")
	return c
}

func (a *app) compareCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cancel COMPARISON", Short: "Cancel all jobs of a comparison that have not ended", Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			r, err := api.CancelComparison(ctx, args[0])
			if err != nil {
				return err
			}
			return a.tellComparison(r, false)
		}),
	}
}

// compare asks for a comparison, or goes on with one, and waits for its end.
func (a *app) compare(ctx context.Context, api *client.Client, t comparison) error {
	r, err := a.startComparison(ctx, api, t)
	if err != nil {
		return err
	}
	if t.detach {
		return a.tellComparison(r, t.csv)
	}
	if r, err = a.awaitComparison(ctx, api, r); err != nil {
		return err
	}
	if t.best != "" && r.Best != nil {
		b, err := json.MarshalIndent(r.Best.Config, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(t.best, append(b, '\n'), 0o644); err != nil {
			return scu.Errorf(scu.CodeInvalid, "--best: %w", err)
		}
	}
	if err := a.tellComparison(r, t.csv); err != nil {
		return err
	}
	for _, run := range r.Runs {
		switch {
		case run.Status == scu.Failed && run.Error != nil:
			return &jobFailed{run.Error}
		case run.Status == scu.Cancelled:
			return scu.Errorf(scu.CodeCancelled, "job %s was cancelled", run.JobID).WithHint("go on with: scu compare --resume %s", r.ID)
		}
	}
	return nil
}

func (a *app) startComparison(ctx context.Context, api *client.Client, t comparison) (r scu.ComparisonReport, err error) {
	if t.resume != "" {
		return api.ResumeComparison(ctx, t.resume)
	}
	if t.baseModel == "" || len(t.trainData) == 0 {
		return r, scu.Errorf(scu.CodeInvalid, "--base-model and --train-data are needed, or --resume").WithHint("see: scu compare --help")
	}
	job, err := t.unchecked()
	if err != nil {
		return r, err
	}
	req := client.ComparisonRequest{Name: t.name, Samples: t.random, SampleSeed: t.randomSeed, ConfigOverrides: job.ConfigOverrides, Priority: t.priority, Space: scu.Space{}}
	if len(t.settings)+len(t.sweep) == 0 {
		t.settings = standardSettings
	}
	for _, text := range t.settings {
		s, err := scu.ParseSetting(text)
		if err != nil {
			return r, within("--setting", err)
		}
		req.Settings = append(req.Settings, s)
	}
	for _, text := range t.sweep {
		field, axis, err := scu.ParseAxis(text)
		if err != nil {
			return r, within("--sweep", err)
		}
		req.Space[field] = axis
	}
	if req.Seeds, err = parseSeeds(t.seeds); err != nil {
		return r, err
	}
	if err := a.uploadAll(ctx, api, &job); err != nil {
		return r, err
	}
	req.BaseModel, req.TrainDataPath, req.TrainData, req.ValDataPath, req.OtherDataPath, req.FromAdapter = job.BaseModel, job.TrainDataPath, job.TrainData, job.ValDataPath, job.OtherDataPath, job.FromAdapter
	return api.Compare(ctx, req)
}

// within puts the flag before an error's message.
func within(flag string, err error) error {
	e := scu.AsError(err)
	out := scu.Errorf(e.Code, "%s: %s", flag, e.Message)
	if e.Hint != "" {
		out = out.WithHint("%s", e.Hint)
	}
	return out
}

// parseSeeds reads a number of seeds, or a list of them.
func parseSeeds(text string) ([]int64, error) {
	refused := scu.Errorf(scu.CodeInvalid, "--seeds: %.60q is neither a number from 1 to 100 nor a list of seeds", text).WithHint("as 5, or 1,2,3")
	parts := strings.Split(text, ",")
	if len(parts) == 1 {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return nil, refused
		}
		return scu.SeedList(n), nil
	}
	var seeds []int64
	for _, p := range parts {
		n, err := strconv.ParseInt(strings.TrimSpace(p), 10, 64)
		if err != nil {
			return nil, refused
		}
		seeds = append(seeds, n)
	}
	return seeds, nil
}

// pollComparison is how often a comparison is asked for.
const pollComparison = time.Second

// awaitComparison waits until no run goes on, and tells of each that has ended.
func (a *app) awaitComparison(ctx context.Context, api *client.Client, r scu.ComparisonReport) (scu.ComparisonReport, error) {
	told := map[string]bool{}
	tick := time.NewTicker(pollComparison)
	defer tick.Stop()
	lost := false
	for {
		if !a.json {
			a.tellRuns(r, told)
		}
		if r.Status != "running" {
			return r, nil
		}
		select {
		case <-ctx.Done():
			if !a.json {
				fmt.Fprintf(a.err, "scu: the comparison goes on; wait for it with: scu compare --resume %s, end it with: scu compare cancel %s\n", r.ID, r.ID)
			}
			return r, ctx.Err()
		case <-tick.C:
		}
		next, err := api.Comparison(ctx, r.ID)
		switch {
		case err == nil:
			r, lost = next, false
		case ctx.Err() != nil: // told above
		case scu.CodeOf(err) != scu.CodeUnavailable:
			return r, err
		case !lost:
			lost = true
			fmt.Fprintln(a.err, "scu: connection lost, trying again")
		}
	}
}

func (a *app) tellRuns(r scu.ComparisonReport, told map[string]bool) {
	for _, run := range r.Runs {
		if !run.Status.Ended() || told[run.JobID] {
			continue
		}
		told[run.JobID] = true
		line := fmt.Sprintf("[%d of %d] %s, seed %d: %s", len(told), len(r.Runs), run.Setting, run.Seed, run.Status)
		if s := run.Summary; s != nil && s.ValLossAfter != nil && s.ValLossLast != nil {
			line += fmt.Sprintf(", validation loss %.4f, at the end %.4f", *s.ValLossAfter, *s.ValLossLast)
		}
		fmt.Fprintln(a.err, line)
	}
}

func (a *app) tellComparison(r scu.ComparisonReport, asCSV bool) error {
	switch {
	case a.json:
		return printJSON(a.out, r)
	case asCSV:
		return a.comparisonCSV(r)
	}
	title := r.ID
	if r.Name != "" {
		title += " (" + r.Name + ")"
	}
	fmt.Fprintf(a.out, "Comparison %s: %s, %s, %s with %s\n\n", title, r.Status, r.BaseModel, scu.Counted(len(r.Rows), "setting"), scu.Counted(len(r.Seeds), "seed"))
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	other := r.OtherLossBefore != nil
	head := "SETTING\tRUNS\tVAL LAST\tVAL KEPT\tS (TARGET)\tLAMBDA"
	if other {
		head += "\tOTHER LAST\tOTHER KEPT"
	}
	fmt.Fprintln(w, head+"\tTIME")
	if r.ValLossBefore != nil {
		base := fmt.Sprintf("(base)\t-\t%s\t%s\t-\t-", r.ValLossBefore, r.ValLossBefore)
		if other {
			base += fmt.Sprintf("\t%s\t%s", r.OtherLossBefore, r.OtherLossBefore)
		}
		fmt.Fprintln(w, base+"\t-")
	}
	for _, row := range r.Rows {
		cells := []string{row.Setting, fmt.Sprintf("%d/%d", row.Completed, len(r.Seeds)), figure(row.Final), figure(row.Best), "-", "-"}
		if row.S != nil {
			cells[4] = fmt.Sprintf("%.4g", row.S.Mean)
			if row.TargetS > 0 {
				cells[4] += fmt.Sprintf(" (%g)", row.TargetS)
			}
			cells[5] = fmt.Sprintf("%.4g", row.Lambda.Mean)
		}
		if other {
			cells = append(cells, figure(row.OtherLast), figure(row.OtherBest))
		}
		took := "-"
		if row.Seconds != nil {
			took = fmt.Sprintf("%.1f s", row.Seconds.Mean)
		}
		fmt.Fprintln(w, strings.Join(append(cells, took), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	for _, line := range r.Verdict {
		fmt.Fprintln(a.out, line)
	}
	if r.Status == "incomplete" || r.Status == "cancelled" {
		fmt.Fprintf(a.out, "Go on with: scu compare --resume %s\n", r.ID)
	}
	return nil
}

func figure(s *scu.Spread) string {
	if s == nil {
		return "-"
	}
	return s.String()
}

// comparisonCSV prints a comparison's runs, one a line.
func (a *app) comparisonCSV(r scu.ComparisonReport) error {
	w := csv.NewWriter(a.out)
	w.Write([]string{"setting", "seed", "job_id", "status", "val_loss_before", "val_loss_final", "val_loss_best", "kept_step", "s_ratio", "lambda_value", "other_loss_before", "other_loss_final", "other_loss_best", "tokens", "training_time_seconds"})
	number := func(x *float64) string {
		if x == nil {
			return ""
		}
		return strconv.FormatFloat(*x, 'g', 9, 64)
	}
	for _, run := range r.Runs {
		line := []string{run.Setting, strconv.FormatInt(run.Seed, 10), run.JobID, string(run.Status)}
		if s := run.Summary; s != nil {
			line = append(line, number(s.ValLossBefore), number(s.ValLossLast), number(s.ValLossAfter), strconv.Itoa(s.KeptStep), number(&s.S), number(&s.Lambda),
				number(s.OtherLossBefore), number(s.OtherLossLast), number(s.OtherLossAfter), strconv.FormatInt(s.Tokens, 10), number(&s.Seconds))
		} else {
			line = append(line, make([]string, 11)...)
		}
		w.Write(line)
	}
	w.Flush()
	return w.Error()
}
