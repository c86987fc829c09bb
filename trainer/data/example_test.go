package data_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// Three rows share a block, and each sees itself alone; a plan says what a step trains on.
func Example() {
	dir, err := os.MkdirTemp("", "scu-data-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "sums.jsonl")
	rows := `{"prompt": "One and one?", "completion": " Two."}
{"prompt": "Two and one?", "completion": " Three."}
{"prompt": "Three and one?", "completion": " Four."}
`
	if err := os.WriteFile(path, []byte(rows), 0o600); err != nil {
		log.Fatal(err)
	}
	tok, err := tokenizer.Load("../../models/bookworm-2m")
	if err != nil {
		log.Fatal(err)
	}
	set, report, err := data.Open(context.Background(), path, "sums.jsonl", tok, data.Options{
		BlockSize: 64, EOS: 0, Packing: scu.PackRows, TrainOn: scu.TrainOnCompletion,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer set.Close()
	fmt.Println(report.Rows, "rows,", report.Blocks, "block,", report.Targets, "of", report.Tokens, "tokens predicted")

	plan, err := data.NewPlan(set, data.PlanConfig{BatchSize: 1, Accumulation: 1, Epochs: 3, Seed: 42})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(plan.Steps(), "steps")
	// Output:
	// 3 rows, 1 block, 12 of 27 tokens predicted
	// 3 steps
}
