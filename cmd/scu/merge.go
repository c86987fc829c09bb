package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/merge"
)

func (a *app) mergeCommand() *cobra.Command {
	var t submission
	var o merge.Options
	var to, kind string
	c := &cobra.Command{
		Use:   "merge --base-model MODEL --adapter DIR --out DIR",
		Short: "Fold an adapter into its base model",
		Long: `Writes the base model with the adapter's changes in its weights: a folder of
safetensors that Transformers loads without PEFT, in the base model's own types (of one
in 4 bits, those that it had before).

With --to gguf it is one file for llama.cpp, its tokenizer included, in the type of
--type; with --to gguf-adapter the adapter alone, for llama.cpp's --lora. A family that
llama.cpp doesn't compute is refused by name.

  scu merge --adapter JOB --out merged
  scu merge --adapter JOB --to gguf --type q8_0 --out model.gguf`,
		Args: cobra.NoArgs,
	}
	localFlags(c, &t, false)
	f := c.Flags()
	f.StringVar(&o.Adapter, "adapter", "", adapterUsage)
	f.StringVar(&o.Out, "out", "", "folder for the merged model, empty or not there yet; for GGUF a file that isn't there yet")
	f.StringVar(&to, "to", toFolder, "what is written: "+toFolder+", "+toGGUF+" or "+toAdapter)
	f.StringVar(&kind, "type", "", "of the weights in GGUF: f32, f16, bf16 or q8_0; default f16, of an adapter f32")
	completes(c, "to", cobra.FixedCompletions([]string{toFolder, toGGUF, toAdapter}, cobra.ShellCompDirectiveNoFileComp))
	completes(c, "type", cobra.FixedCompletions(ggufTypes, cobra.ShellCompDirectiveNoFileComp))
	f.Int64Var(&o.ShardBytes, "shard-bytes", merge.ShardBytes, "maximum bytes per weights file, all held in memory at once")
	required(c, "adapter", "out")
	c.RunE = a.run(func(ctx context.Context, s Settings, _ []string) error {
		as, err := ggufType(to, kind)
		if err != nil {
			return err
		}
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
					if to != toFolder {
						return a.writeGGUF(ctx, dev, o, to, as)
					}
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
					_, err = fmt.Fprintf(a.out, "Merged %s into %s: %s, %s bytes of weights in %s\n",
						scu.Counted(r.Modules, "module"), o.Out, scu.Counted(r.Tensors, "tensor"), thousands(r.Bytes), scu.Counted(r.Files, "file"))
					return err
				})
			})
		})
	})
	return c
}
