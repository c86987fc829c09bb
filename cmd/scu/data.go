package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"scu"
	"scu/trainer/base"
	"scu/trainer/data"
	"scu/trainer/hub"
)

func (a *app) dataCommand() *cobra.Command {
	var t submission
	var blocks int
	c := &cobra.Command{
		Use:   "data FILE --base-model MODEL",
		Short: "Check a data file here, without a server",
		Long: `Reads a data file as training would, and says what becomes of it: documents, tokens,
blocks, and every line that would be refused or looks odd.`,
		Args: cobra.ExactArgs(1),
	}
	f := c.Flags()
	f.StringVar(&t.baseModel, "base-model", "", `"bookworm-2m" (built in), a model folder, or a Hugging Face model id`)
	f.StringVar(&t.configFile, "config", "", "JSON file of configuration fields that differ from their defaults")
	f.StringArrayVar(&t.set, "set", nil, "one configuration field, as block_size=256; goes before --config, may be repeated")
	f.IntVar(&blocks, "blocks", 0, "with --json, also the token ids of so many blocks; -1 is all")
	addFlags(f, []string{"hf-token"})
	if err := c.MarkFlagRequired("base-model"); err != nil {
		panic(err) // no such flag
	}
	c.RunE = a.run(func(ctx context.Context, s Settings, args []string) error {
		t.trainData = args[0]
		req, err := t.request()
		if err != nil {
			return err
		}
		cfg := scu.DefaultConfig()
		if err := cfg.Merge(req.ConfigOverrides); err != nil {
			return err
		}
		return a.checkData(ctx, s, req.BaseModel, args[0], &cfg, blocks)
	})
	return c
}

// checkData prints the report of a data file.
func (a *app) checkData(ctx context.Context, s Settings, model, path string, cfg *scu.Config, blocks int) error {
	models, err := os.MkdirTemp("", "scu-data-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(models)
	dir, _, err := (&base.Finder{Dir: models, Hub: newHub(s)}).Describe(ctx, model)
	if err != nil {
		return err
	}
	m, err := base.OpenDescription(dir)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.FitBlock(cfg); err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		return scu.Errorf(scu.CodeInvalid, "%w", err)
	}
	set, report, err := m.OpenData(ctx, path, filepath.Base(path), cfg, "", "")
	if report != nil && !a.json {
		a.tellData(report)
	}
	if err != nil {
		return err
	}
	defer set.Close()
	if !a.json {
		return nil
	}
	ids, err := tokensOf(set, blocks)
	if err != nil {
		return err
	}
	return printJSON(a.out, struct {
		Report *data.Report `json:"report"`
		Blocks [][]int32    `json:"blocks,omitempty"`
	}{report, ids})
}

func (a *app) tellData(r *data.Report) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Format:\t%s\nBytes:\t%s\nDocuments:\t%s\nBlocks:\t%s\nTokens:\t%s\nPredicted:\t%s\n",
		r.Format, thousands(r.Bytes), thousands(r.Documents), thousands(int64(r.Blocks)), thousands(r.Tokens), thousands(r.Targets))
	w.Flush()
	for _, list := range []struct {
		word  string
		found []data.Findings
	}{{"refused", r.Refused}, {"odd", r.Suspicious}} {
		for _, f := range list.found {
			for _, line := range f.Lines {
				fmt.Fprintf(a.out, "line %d: %s: %s\n", line.Line, list.word, line.Message)
			}
			if more := f.Total - int64(len(f.Lines)); more > 0 {
				fmt.Fprintf(a.out, "and %s more lines like these (%s)\n", thousands(more), f.Kind)
			}
		}
	}
}

// tokensOf reads the first n blocks, or all.
func tokensOf(d *data.Dataset, n int) ([][]int32, error) {
	if n < 0 || n > d.Blocks() {
		n = d.Blocks()
	}
	out := make([][]int32, n)
	var errs error
	for i := range out {
		ids, _, err := d.Block(i)
		out[i], errs = ids, errors.Join(errs, err)
	}
	return out, errs
}

// newHub makes the client of the Hugging Face Hub.
func newHub(s Settings) *hub.Client {
	h := hub.FromEnv()
	if s.HFToken != "" {
		h.Token = hub.Token(s.HFToken)
	}
	return h
}
