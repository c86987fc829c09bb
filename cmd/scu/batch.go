package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// notRequired lifts what required asks for if another flag is given.
func notRequired(c *cobra.Command, given string, names ...string) {
	c.PreRun = func(c *cobra.Command, _ []string) {
		for _, name := range names {
			if c.Flags().Changed(given) {
				c.Flags().SetAnnotation(name, cobra.BashCompOneRequiredFlag, []string{"false"})
			}
		}
	}
}

// trainBatch submits the jobs of a file, all or none. Local files are uploaded first, each
// once.
func (a *app) trainBatch(ctx context.Context, api *client.Client, path, key string) error {
	req, err := readBatch(path)
	if err != nil {
		return err
	}
	sent := map[string]string{}
	upload := func(data *string) (err error) {
		if _, known := sent[*data]; !known {
			if sent[*data], err = a.upload(ctx, api, *data); err != nil {
				return err
			}
		}
		*data = sent[*data]
		return nil
	}
	for i := range req.Jobs {
		j := &req.Jobs[i]
		all := []*string{&j.TrainDataPath, &j.ValDataPath, &j.OtherDataPath}
		for k := range j.TrainData {
			all = append(all, &j.TrainData[k].Path)
		}
		for _, data := range all {
			if err := upload(data); err != nil {
				return err
			}
		}
		if j.FromAdapter, err = a.uploadAdapter(ctx, api, j.FromAdapter); err != nil {
			return err
		}
	}
	req.IdempotencyKey = key
	res, err := api.SubmitBatch(ctx, req)
	if err != nil {
		return err
	}
	if a.json {
		return printJSON(a.out, res)
	}
	for _, j := range res.Jobs {
		for _, w := range j.Warnings {
			fmt.Fprintf(a.err, "scu: warning: %s: %s\n", j.JobID, w)
		}
		fmt.Fprintf(a.out, "Job submitted: %s\n", j.JobID)
	}
	return nil
}

// readBatch reads a file with a job's JSON object a line, as POST /jobs/submit takes it.
func readBatch(path string) (req client.BatchRequest, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return req, scu.Errorf(scu.CodeInvalid, "--batch: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for n := 1; lines.Scan(); n++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var j client.SubmitRequest
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&j); err != nil || d.More() {
			if err == nil {
				err = fmt.Errorf("more than one JSON object")
			}
			return req, scu.Errorf(scu.CodeInvalid, "%s, line %d: %v", path, n, err).WithHint("a line is what POST /jobs/submit takes, on one line")
		}
		if field, repeated := scu.RepeatedField(line); repeated {
			return req, scu.Errorf(scu.CodeInvalid, "%s, line %d: set more than once", path, n).At(field).WithHint("leave one: of two the last alone would count")
		}
		if field, found := otherCase(line); found {
			return req, scu.Errorf(scu.CodeInvalid, "%s, line %d: unknown field", path, n).At(field).WithHint("names of fields are in lower case")
		}
		req.Jobs = append(req.Jobs, j)
	}
	if len(req.Jobs) == 0 || len(req.Jobs) > scu.MaxBatch {
		return req, scu.Errorf(scu.CodeInvalid, "%s has %d jobs; a batch has 1 to %d", path, len(req.Jobs), scu.MaxBatch)
	}
	return req, lines.Err()
}

// otherCase finds a field that package json took for one of a job's, all of which are lower-case, though
// its case is another, as Priority.
func otherCase(line []byte) (path string, found bool) {
	var job map[string]json.RawMessage
	var nested struct {
		Sources []map[string]json.RawMessage `json:"train_data"`
	}
	if json.Unmarshal(line, &job) != nil || json.Unmarshal(line, &nested) != nil {
		return "", false // it was read as a job before
	}
	for i, object := range append(nested.Sources, job) {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") == "" {
				continue
			}
			if i < len(nested.Sources) {
				name = fmt.Sprintf("train_data[%d].%s", i, name)
			}
			return name, true
		}
	}
	return "", false
}
