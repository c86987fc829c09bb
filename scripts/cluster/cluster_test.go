//go:build unix

package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// compose.yaml passes the specification's schema, and what it starts trains a job: as
// processes with the same commands, settings and secrets, each with its own NATS login.
func TestClusterTrains(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "scu")
	buildSCU(t, program)
	c, err := start(t.Context(), options{files: []string{"../../compose.yaml"}, dir: filepath.Join(dir, "cluster"), scu: program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)

	text := filepath.Join(dir, "tale.txt")
	check(t, os.WriteFile(text, []byte(strings.Repeat("The ferry left at six, and the river kept the time. ", 60)), 0o600))
	var job struct {
		ID     string `json:"job_id"`
		Status string `json:"status"`
	}
	submitted := c.client(t, "train", "--base-model", "bookworm-2m", "--train-data", text, "--set", "steps=40", "--set", "block_size=128", "--json")
	check(t, json.Unmarshal(submitted, &job))
	c.client(t, "watch", job.ID, "--json")
	check(t, json.Unmarshal(c.client(t, "status", job.ID, "--json"), &job))
	if job.Status != "completed" {
		t.Fatalf("the job is %s", job.Status)
	}
	c.client(t, "download", job.ID, "--output-dir", filepath.Join(dir, "out"))
	if _, err := os.Stat(filepath.Join(dir, "out", job.ID+"_adapter", "adapter_model.safetensors")); err != nil {
		t.Error(err)
	}
}

// buildSCU makes the program.
func buildSCU(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/scu").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// client runs a client command against the cluster and returns what it printed.
func (c *cluster) client(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), c.scu, args...)
	cmd.Env = append(os.Environ(), "SCU_API_URL="+c.apiURL("api"), "SCU_API_KEY_FILE="+c.secret("api-key"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scu %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
