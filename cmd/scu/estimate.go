package main

import (
	"context"
	"fmt"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/estimate"
)

func (a *app) estimateCommand() *cobra.Command {
	var t submission
	var tokens int64
	c := &cobra.Command{
		Use:   "estimate --base-model MODEL (--data FILE | --tokens N)",
		Short: "Estimate a job on this machine: parameters, memory, time",
		Long: `Says what training would take here, without a server and without training: the
parameters, the peak memory of a scu serve that runs the job, and the time, for which
it times each kind of operation once. Other work on the machine makes it slower.

  scu estimate --base-model gpt2 --data book.txt --set block_size=256
  scu estimate --base-model Qwen/Qwen3-0.6B --tokens 1000000`,
		Args: cobra.NoArgs,
	}
	localFlags(c, &t, true)
	required(c, "base-model")
	f := c.Flags()
	dataFlag(c, &t.trainData, "training data, as for scu train --train-data, of files here; its tokens are counted")
	f.StringVar(&t.valData, "val-data", "", "validation data; default: a share of the training data is held out")
	f.Int64Var(&tokens, "tokens", 0, "number of training tokens, instead of a file")
	c.MarkFlagsOneRequired("data", "tokens")
	c.MarkFlagsMutuallyExclusive("data", "tokens")
	c.RunE = a.run(func(ctx context.Context, s Settings, _ []string) error {
		model, cfg, err := t.local()
		if err != nil {
			return err
		}
		if len(t.trainData) == 0 && tokens < 2 {
			return scu.Errorf(scu.CodeInvalid, "%d tokens leave nothing to predict", tokens).At("tokens")
		}
		return withModel(ctx, a, s, model, (*base.Finder).Outline, func(m *base.Model) error {
			defer m.Close()
			if err := m.FitBlock(&cfg); err != nil {
				return err
			}
			work := estimate.WorkOfTokens(tokens, &cfg)
			if len(t.trainData) > 0 {
				if work, err = workOfFiles(ctx, m, &cfg, t.trainData, t.valData); err != nil {
					return err
				}
			}
			calibration := &estimate.Calibration{Device: devices.Default(s.localThreads())}
			free, _ := calibration.Device.Available()
			free = estimate.Within(s.mostOf(calibration.Device), free)
			e, err := calibration.Of(ctx, estimate.Run{
				Spec: m.Spec, Types: m.Types(), Config: cfg, Work: work, Device: calibration.Device, Available: free,
			})
			if err != nil {
				return err
			}
			return a.tellEstimate(e)
		})
	})
	return c
}

// workOfFiles reads the data of a run; val may be "".
func workOfFiles(ctx context.Context, m *base.Model, cfg *scu.Config, train []string, val string) (w estimate.Work, err error) {
	sources, err := localSources(train)
	if err != nil {
		return w, err
	}
	set, _, err := m.OpenSources(ctx, sources, cfg, data.Cache{})
	if err != nil {
		return w, err
	}
	defer set.Close()
	var valSet *data.Dataset
	if val != "" {
		if err := readable(val); err != nil {
			return w, err
		}
		if valSet, _, err = m.OpenData(ctx, val, filepath.Base(val), cfg, data.Cache{}, ""); err != nil {
			return w, err
		}
		defer valSet.Close()
	}
	return estimate.WorkOf(set, valSet, cfg)
}

func (a *app) tellEstimate(e scu.Estimate) error {
	if a.json {
		return printJSON(a.out, e)
	}
	for _, w := range e.Warnings {
		fmt.Fprintln(a.err, "scu: warning:", w)
	}
	m := e.Memory
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s:\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("Parameters", "%s, and %s of the adapter", thousands(e.Parameters), thousands(e.Trainable))
	row("Memory", "%s at most: %s weights, %s activations, %s adapter, %s scratch, %s the service itself", mib(m.Peak),
		mib(m.Weights), mib(m.Activations), mib(m.Adapter), mib(m.Scratch), mib(m.Process))
	if m.Host > 0 {
		row("", "and of the host's, pinned: %s", mib(m.Host))
	}
	if m.Checkpointing {
		row("", "of the activations all, or as many as make it fit, are computed again (gradient_checkpointing)")
	}
	row("Work", "%s, %s, %s", thousandsOf(int64(e.Steps), "step"), thousandsOf(e.Tokens, "token"), thousandsOf(int64(e.Validations), "validation"))
	row("Time", "%s, %s a step, %.0f tokens/s", roughly(e.Seconds), roughly(e.StepSeconds), e.TokensPerSecond)
	return w.Flush()
}

func mib(n int64) string { return thousands((n+1<<20-1)>>20) + " MiB" }

// roughly is a time with as many digits as an estimate deserves.
func roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}
