package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/generate"
)

// maxPrompt bounds a prompt that is read from a pipe.
const maxPrompt = 16 << 20

func (a *app) generateCommand() *cobra.Command {
	var t submission
	var adapter, prompt string
	var o generate.Options
	c := &cobra.Command{
		Use:   "generate --base-model MODEL --prompt TEXT",
		Short: "Continue a text with a model, with or without an adapter",
		Long: `Continues a text here, without a server: to see what an adapter learned.

  scu generate --base-model bookworm-2m --prompt "It was the best of"
  scu generate --adapter adapters/JOB_adapter --prompt - --temperature 0.8 <prompt.txt
  scu generate --adapter adapters/JOB_adapter --chat --prompt "What is a lighthouse for?"
  scu generate --base-model bookworm-2m --chat --prompt '[{"role": "user", "content": "Hello"}]'

With --chat the prompt is what a user says, or a JSON array of messages. The model's
chat template writes it, and the answer alone is shown.`,
		Args: cobra.NoArgs,
	}
	localFlags(c, &t, false)
	f := c.Flags()
	f.StringVar(&adapter, "adapter", "", adapterUsage+"; default: the base model alone")
	f.BoolVar(&o.Chat, "chat", false, "take the prompt for a conversation, and answer it")
	f.StringVar(&prompt, "prompt", "", "the text to continue; - reads it from standard input")
	f.IntVar(&o.MaxTokens, "max-tokens", 0, "maximum number of new tokens; 0 means 64, or fewer if the model has no more positions")
	f.Float64Var(&o.Temperature, "temperature", 0, "0 takes the likeliest token each time; higher is more varied")
	f.IntVar(&o.TopK, "top-k", 0, "with a temperature, choose among this many likeliest tokens; 0 means all")
	f.Int64Var(&o.Seed, "seed", 42, "seed of the choices; the same seed gives the same text")
	required(c, "prompt")
	c.RunE = a.run(func(ctx context.Context, s Settings, _ []string) error {
		return a.withAdapter(ctx, s, adapter, func(dir string) error {
			adapter = dir
			if err := t.baseOf(dir); err != nil {
				return err
			}
			model, _, err := t.local()
			if err != nil {
				return err
			}
			if prompt, err = readPrompt(prompt, os.Stdin); err != nil {
				return err
			}
			return withModel(ctx, a, s, model, (*base.Finder).Locate, func(dir string) error {
				return s.withDevice(func(dev kernels.Device) error {
					r, err := generate.Run(ctx, dev, dir, adapter, prompt, o)
					if err != nil {
						return err
					}
					if a.json {
						return printJSON(a.out, r)
					}
					for _, w := range r.Warnings {
						fmt.Fprintln(a.err, "scu: warning:", w)
					}
					if o.Chat {
						_, err = fmt.Fprintln(a.out, strings.TrimSpace(r.Text))
						return err
					}
					_, err = fmt.Fprintln(a.out, prompt+r.Text)
					return err
				})
			})
		})
	})
	return c
}

// readPrompt reads the prompt from in where it is "-".
func readPrompt(prompt string, in io.Reader) (string, error) {
	if prompt != "-" {
		return prompt, nil
	}
	b, err := io.ReadAll(io.LimitReader(in, maxPrompt+1))
	if err == nil && len(b) > maxPrompt {
		err = scu.Errorf(scu.CodeTooLarge, "the prompt has more than %d bytes", maxPrompt).At("prompt")
	}
	return string(b), err
}
