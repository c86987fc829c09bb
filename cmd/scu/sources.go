package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/trainer/base"
)

// trainDataUsage is the help of a flag that names training data.
const trainDataUsage = "training data, plain text, JSONL, CSV or Parquet; of several files, each with the flag, as FILE or FILE=SHARE"

// dataFlag adds --data to a command that doesn't train. It is taken for --train-data, as it is called
// by those that do, too.
func dataFlag(c *cobra.Command, named *[]string, usage string) {
	f := c.Flags()
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "train-data" {
			name = "data"
		}
		return pflag.NormalizedName(name)
	})
	f.StringArrayVar(named, "data", nil, usage)
}

// parseSources reads the values of a flag that names training data: one name, or several,
// each with its share or none. What follows the last = is a share if it is a number,
// except of an address with a query.
func parseSources(named []string) ([]client.TrainSource, error) {
	if len(named) > scu.MaxSources {
		return nil, scu.Errorf(scu.CodeInvalid, "%d sources; at most %d are taken", len(named), scu.MaxSources).At("train_data")
	}
	out := make([]client.TrainSource, len(named))
	sources := make(scu.Sources, len(named)) // to check their shares
	for i, s := range named {
		out[i].Path = s
		at := strings.LastIndexByte(s, '=')
		if len(named) == 1 || at <= 0 || strings.Contains(s, "://") && strings.Contains(s, "?") {
			continue
		}
		share, err := strconv.ParseFloat(s[at+1:], 64)
		if err != nil {
			continue
		}
		if !(share > 0) {
			return nil, scu.Errorf(scu.CodeInvalid, "a share of %v is not above 0", share).At(fmt.Sprintf("train_data[%d].share", i)).WithHint("leave the file out")
		}
		out[i] = client.TrainSource{Path: s[:at], Share: share}
		sources[i].Share = share
	}
	return out, sources.Check()
}

// setSources puts training data into the two fields of a request that may name it.
func setSources(named []string, path *string, list *[]client.TrainSource) error {
	sources, err := parseSources(named)
	switch {
	case err != nil:
		return err
	case len(sources) == 1:
		*path = sources[0].Path
	default:
		*list = sources
	}
	return nil
}

// uploadData uploads the data that a request names, and puts in what the server calls it.
func (a *app) uploadData(ctx context.Context, api *client.Client, req *client.SubmitRequest) (err error) {
	data := []*string{&req.TrainDataPath, &req.ValDataPath}
	for i := range req.TrainData {
		data = append(data, &req.TrainData[i].Path)
	}
	for _, d := range data {
		if *d, err = a.upload(ctx, api, *d); err != nil {
			return err
		}
	}
	return nil
}

// localSources are files of training data on this machine.
func localSources(named []string) (base.Sources, error) {
	list, err := parseSources(named)
	if err != nil {
		return base.Sources{}, err
	}
	var s base.Sources
	for _, x := range list {
		if err := readable(x.Path); err != nil {
			return s, err
		}
		s.Sources = append(s.Sources, scu.Source{Path: x.Path, Share: x.Share, File: scu.File{Name: filepath.Base(x.Path)}})
		s.Local = append(s.Local, x.Path)
	}
	return s, nil
}
