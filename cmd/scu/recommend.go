package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) recommendCommand() *cobra.Command {
	var t submission
	var out string
	c := &cobra.Command{
		Use:   "recommend-config --base-model MODEL [--data FILE]",
		Short: "Choose a job's settings from its model and data, with a reason for each",
		Long: `Asks the server for the settings of a job: by the model's size and shape, the data's
tokens, and the memory of the trainers. scu train --recommend begins from them; --out
writes a file for scu train --config, to change and keep.

  scu recommend-config --base-model bookworm-2m --data book.txt
  scu recommend-config --base-model meta-llama/Llama-3.2-1B --out config.json`,
		Args: cobra.NoArgs,
	}
	f := c.Flags()
	f.StringVar(&t.baseModel, "base-model", "", "as for scu train")
	completes(c, "base-model", completeModels)
	dataFlag(c, &t.trainData, "training data, as for scu train --train-data; without it only the model counts")
	f.StringVar(&t.valData, "val-data", "", "validation data likewise")
	f.StringVar(&out, "out", "", "also write the settings to this file")
	required(c, "base-model")
	c.RunE = a.call(func(ctx context.Context, api *client.Client, _ []string) error {
		req, err := t.request()
		if err != nil {
			return err
		}
		if err := a.uploadData(ctx, api, &req); err != nil {
			return err
		}
		r, err := api.Recommend(ctx, client.RecommendRequest{BaseModel: req.BaseModel, TrainDataPath: req.TrainDataPath, TrainData: req.TrainData, ValDataPath: req.ValDataPath})
		if err != nil {
			return err
		}
		if out != "" {
			b, err := json.MarshalIndent(r.Config, "", "  ")
			if err != nil {
				return err
			}
			if err := os.WriteFile(out, append(b, '\n'), 0o644); err != nil {
				return scu.Errorf(scu.CodeInvalid, "--out: %w", err)
			}
		}
		return a.tellRecommendation(r)
	})
	return c
}

func (a *app) tellRecommendation(r scu.Recommendation) error {
	if a.json {
		return printJSON(a.out, r)
	}
	size := fmt.Sprintf("%s parameters (%s)", thousands(r.Size.Parameters), sizeSources[r.Size.Source])
	if r.Tokens > 0 {
		size += fmt.Sprintf("; data of %s tokens", thousands(r.Tokens))
	}
	fmt.Fprintf(a.out, "%s: %s\n\n", r.BaseModel, size)
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	for _, c := range r.Choices {
		value, err := json.Marshal(c.Value)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Field, value, c.Reason)
	}
	return w.Flush()
}

// sizeSources say for people where a model's size comes from.
var sizeSources = map[string]string{
	scu.SizeFromCheckpoint: "counted in its weights",
	scu.SizeFromConfig:     "by its config.json",
	scu.SizeFromTable:      "known by its name",
	scu.SizeFromName:       "as its name says",
	scu.SizeAssumed:        "assumed: its files can't be reached and its name doesn't say",
}
