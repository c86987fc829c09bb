//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
)

// besideRiver measures River's enqueue in a database of its own on the same PostgreSQL, by
// the program in the folder river, whose module has River. It runs from the repository's
// root.
func besideRiver(ctx context.Context, w *world, o options) ([]row, error) {
	database, err := w.postgres.Create()
	if err != nil {
		return nil, err
	}
	n := o.scaled(20_000, clients)
	cmd := exec.CommandContext(ctx, "go", "run", ".", "-database", database, "-n", strconv.Itoa(n))
	cmd.Dir, cmd.Stderr = "scripts/load/river", os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure River: %w", err)
	}
	var rates struct {
		Single float64 `json:"single"`
		Batch  float64 `json:"batch"`
		Jobs   float64 `json:"batch_jobs"`
	}
	if err := json.Unmarshal(out, &rates); err != nil {
		return nil, fmt.Errorf("measure River: %w", err)
	}
	return []row{
		{"River beside it: single inserts, 16 clients, without HTTP", n, fmt.Sprintf("%.0f/s", rates.Single), ""},
		{fmt.Sprintf("River beside it: InsertManyFast of %d, 1 client", min(batchSize, n)), int(rates.Jobs), fmt.Sprintf("%.0f/s", rates.Batch), ""},
	}, nil
}
