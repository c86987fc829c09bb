package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// A batch's file is read line by line, and what is wrong with it is told by line.
func TestReadBatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.jsonl")
	for _, c := range []struct{ text, want string }{
		{"{\"base_model\": \"bookworm-2m\", \"train_data_path\": \"a.txt\"}\n\n{\"base_model\": \"gpt2\", \"priority\": 3}\n", ""},
		{"{\"base_model\": \"x\"}\n{\"base_mode\": \"x\"}\n", "line 2"},
		{"{\"base_model\": \"x\"} {}\n", "line 1: more than one"},
		{"[]\n", "line 1"},
		{"{}\n{\"metadata\": {\"a\": \"b\", \"a\": \"c\"}}\n", "metadata.a: " + path + ", line 2: set more than once"},
		{"{\"priority\": 5, \"Priority\": 7}\n", "Priority: " + path + ", line 1: unknown field"},
		{"{}\n{\"train_data\": [{\"path\": \"a\"}, {\"path\": \"b\", \"\u017fhare\": 2}]}\n", "train_data[1].\u017fhare: " + path + ", line 2: unknown field"},
		{"{\"metadata\": {\"A\": \"b\"}}\n{\"priority\": 3, \"config_overrides\": {\"control\": {\"Kp\": 1}}}\n", ""},
		{"\n", "has 0 jobs"},
		{strings.Repeat("{}\n", scu.MaxBatch+1), "1 to 1000"},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		req, err := readBatch(path)
		if c.want == "" && (err != nil || len(req.Jobs) != 2 || req.Jobs[1].Priority != 3) || c.want != "" && (scu.CodeOf(err) != scu.CodeInvalid || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.40q: %v, %v", c.text, req, err)
		}
	}
}
