package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/examples"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/generate"
)

// demoPrompt is continued by the base and by the adapted model: the day after the
// last one of the example text.
const demoPrompt = "Tuesday, 28th October. Wind"

// demoTokens is how long the continuation is.
const demoTokens = 90

func (a *app) demoCommand() *cobra.Command {
	var dir string
	var t submission
	c := &cobra.Command{
		Use:   "demo",
		Short: "Run the main job: serve, train, watch, download, compare",
		Long: `Starts a server in this process, on a free port and over a temporary folder, trains
an adapter of the built-in model on the example text through the HTTP API, downloads
it, and shows what it learned.`,
		Args: cobra.NoArgs,
		RunE: a.run(func(ctx context.Context, s Settings, _ []string) error { return a.demo(ctx, s, dir, t) }),
	}
	c.Flags().StringVar(&dir, "dir", "demo", "folder for the adapter")
	c.Flags().StringArrayVar(&t.set, "set", nil, "one configuration field that differs from examples/text/config.json, as lora.r=8; may be repeated")
	addFlags(c.Flags(), []string{"threads"})
	return c
}

// demo serves until the job is done and shown.
func (a *app) demo(ctx context.Context, s Settings, dir string, t submission) error {
	overrides := map[string]any{}
	if err := decodeObject("examples/text/config.json", examples.Config, &overrides); err != nil {
		return err
	}
	if err := t.lay(overrides); err != nil {
		return err
	}
	data, err := os.MkdirTemp("", "scu-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(data)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	server := Settings{
		Listen: "127.0.0.1:0", Data: data, DataDirs: []string{data}, MaxFileBytes: s.MaxFileBytes, ClaimTime: s.ClaimTime,
		MaxConcurrentJobs: 1, Threads: s.Threads, LogLevel: "error",
	}
	up, ended := make(chan ready, 1), make(chan error, 1)
	go func() { ended <- serve(ctx, server, func(r ready) error { up <- r; return nil }) }()
	select {
	case err := <-ended:
		return err
	case r := <-up:
		err := a.demoJob(ctx, r, dir, overrides)
		stop()
		return errors.Join(err, <-ended)
	}
}

// demoJob trains on the example text at a running server, as any client would.
func (a *app) demoJob(ctx context.Context, server ready, dir string, overrides map[string]any) error {
	api, err := client.New(server.APIURL, "")
	if err != nil {
		return err
	}
	say := a.out
	if a.json {
		say = io.Discard
	}
	fmt.Fprintf(say, "Serving at %s, ready after %.2f s.\n", server.APIURL, server.Seconds)
	file, err := api.Upload(ctx, "keeper.txt", bytes.NewReader(examples.Keeper), int64(len(examples.Keeper)), nil)
	if err != nil {
		return err
	}
	sent, err := api.Submit(ctx, client.SubmitRequest{
		BaseModel: models.BuiltIn, TrainDataPath: file.ID, Name: "demo", ConfigOverrides: overrides,
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(say, "Job %s: %s, on a lighthouse keeper's log of %s bytes.\n\n", sent.JobID, models.BuiltIn, thousands(file.Size))
	show := shower(silent{})
	if !a.json {
		show = a.newDisplay()
	}
	last, err := follow(ctx, api, sent.JobID, show)
	if err != nil {
		return err
	}
	if err := outcome(last); err != nil {
		return err
	}
	job, err := api.Job(ctx, sent.JobID)
	if err != nil {
		return err
	}
	steps, err := allSteps(ctx, api, sent.JobID)
	if err != nil {
		return err
	}
	folder, err := a.download(ctx, api, sent.JobID, "", dir, false)
	if err != nil {
		return err
	}
	texts, err := continued(ctx, server, folder)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, map[string]any{
			"job": job, "adapter": folder, "prompt": demoPrompt, "base_text": texts[0], "adapted_text": texts[1],
		})
	}
	a.tellDemo(job, steps, folder, texts)
	return nil
}

// continued is the prompt's continuation by the base and by the adapted model.
func continued(ctx context.Context, server ready, adapter string) (texts [2]string, err error) {
	base, err := models.Extract(filepath.Join(server.Data, "models"))
	if err != nil {
		return texts, err
	}
	o := generate.Options{MaxTokens: demoTokens, Temperature: 0.7, TopK: 40, Seed: 7, Threads: server.Threads}
	for i, adapter := range []string{"", adapter} {
		if texts[i], err = generate.Text(ctx, base, adapter, demoPrompt, o); err != nil {
			return texts, err
		}
	}
	return texts, nil
}

// tellDemo prints what came out.
func (a *app) tellDemo(job client.JobDetail, steps []scu.Metrics, folder string, texts [2]string) {
	fmt.Fprintf(a.out, "\n%s\n", chart(steps, job.Config.Control.TargetS))
	for i, who := range []string{"The base model", "With the adapter"} {
		fmt.Fprintf(a.out, "\n%s continues %q:\n", who, demoPrompt)
		for _, paragraph := range strings.Split(strings.TrimSpace(demoPrompt+texts[i]), "\n\n") {
			fmt.Fprintln(a.out, "  "+strings.Join(wrap(paragraph, 76), "\n  "))
		}
	}
	s := job.Adapter.Metrics
	fmt.Fprintln(a.out)
	if s.ValLossBefore != nil && s.ValLossAfter != nil {
		fmt.Fprintf(a.out, "Validation loss: %.3f before, %.3f after, in nats a token on text that was held out.\n", *s.ValLossBefore, *s.ValLossAfter)
	}
	fmt.Fprintf(a.out, "S, the adapter's share of the information: %.4g at the end, target %g.\n", s.S, s.TargetS)
	fmt.Fprintf(a.out, "Trained %d steps, %s tokens, in %.1f s.\n", s.Steps, thousands(s.Tokens), s.Seconds)
	fmt.Fprintf(a.out, "Adapter, a folder that PEFT loads: %s\n", strings.TrimSuffix(folder, "/")+"/")
}
