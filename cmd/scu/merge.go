package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/merge"
)

func (a *app) mergeCommand() *cobra.Command {
	var t submission
	var o merge.Options
	c := &cobra.Command{
		Use:   "merge --base-model MODEL --adapter DIR --out DIR",
		Short: "Fold an adapter into its base model",
		Long: `Writes the base model with the adapter's changes in its weights: a folder of
safetensors that Transformers loads without PEFT, in the base model's own types.`,
		Args: cobra.NoArgs,
	}
	localFlags(c, &t, false)
	f := c.Flags()
	f.StringVar(&o.Adapter, "adapter", "", adapterUsage)
	f.StringVar(&o.Out, "out", "", "folder for the merged model; must be empty or not exist yet")
	f.Int64Var(&o.ShardBytes, "shard-bytes", merge.ShardBytes, "maximum bytes per weights file, all held in memory at once")
	required(c, "adapter", "out")
	c.RunE = a.run(func(ctx context.Context, s Settings, _ []string) error {
		return a.withAdapter(ctx, s, o.Adapter, func(dir string) error {
			o.Adapter = dir
			if err := t.baseOf(dir); err != nil {
				return err
			}
			model, _, err := t.local()
			if err != nil {
				return err
			}
			return withModel(ctx, a, s, model, (*base.Finder).Locate, func(dir string) error {
				return s.withDevice(func(dev kernels.Device) error {
					o.Base = dir
					r, err := merge.Run(ctx, dev, o)
					if err != nil {
						return err
					}
					if a.json {
						return printJSON(a.out, struct {
							Path string `json:"path"`
							merge.Result
						}{o.Out, r})
					}
					_, err = fmt.Fprintf(a.out, "Merged %d modules into %s: %d tensors, %s bytes of weights in %d file(s)\n",
						r.Modules, o.Out, r.Tensors, thousands(r.Bytes), r.Files)
					return err
				})
			})
		})
	})
	return c
}
