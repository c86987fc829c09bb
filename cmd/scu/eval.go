package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/eval"
)

func (a *app) evalCommand() *cobra.Command {
	var t submission
	var adapter, path string
	var blockSize, batchSize int
	c := &cobra.Command{
		Use:   "eval --base-model MODEL --data FILE",
		Short: "Measure how well a model predicts a text, with or without an adapter",
		Long: `Measures loss, perplexity, and bits a token and a byte here, without a server, on a
file of plain text or JSONL. With the configuration of a job, and its validation data,
the loss is the validation loss of that job.

  scu eval --base-model bookworm-2m --adapter adapters/JOB_adapter --data val.txt --block-size 256`,
		Args: cobra.NoArgs,
	}
	localFlags(c, &t, true)
	f := c.Flags()
	f.StringVar(&adapter, "adapter", "", adapterUsage+"; default: the base model alone")
	f.StringVar(&path, "data", "", "the file")
	f.IntVar(&blockSize, "block-size", 0, "tokens per block, same as --set block_size; default 4096 or the model's positions")
	f.IntVar(&batchSize, "batch-size", 0, "blocks computed together, same as --set batch_size; default 4")
	required(c, "data")
	c.RunE = a.run(func(ctx context.Context, s Settings, _ []string) error {
		t.setInt("block_size", blockSize)
		t.setInt("batch_size", batchSize)
		return a.withAdapter(ctx, s, adapter, func(dir string) error {
			adapter = dir
			if err := t.baseOf(dir); err != nil {
				return err
			}
			model, cfg, err := t.local()
			if err != nil {
				return err
			}
			if err := readable(path); err != nil {
				return err
			}
			return withModel(ctx, a, s, model, (*base.Finder).Locate, func(dir string) error {
				return s.withDevice(func(dev kernels.Device) error {
					r, warnings, err := eval.Run(ctx, dev, path, eval.Options{Base: dir, Adapter: adapter, Config: cfg})
					if err != nil {
						return err
					}
					if a.json {
						return printJSON(a.out, r)
					}
					for _, w := range warnings {
						fmt.Fprintln(a.err, "scu: warning:", w)
					}
					w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
					fmt.Fprintf(w, "Loss:\t%.4f nats a token\nPerplexity:\t%.3f\nBits:\t%.4f a token, %.4f a byte\nOver:\t%s tokens, %s bytes\n",
						r.Loss, r.Perplexity, r.BitsPerToken, r.BitsPerByte, thousands(r.Tokens), thousands(r.Bytes))
					return w.Flush()
				})
			})
		})
	})
	return c
}
