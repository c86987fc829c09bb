package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu/api/client"
)

// The data folder is looked at where it is or will be, and nothing stays in it.
func TestDoctorDataFolder(t *testing.T) {
	dir := t.TempDir()
	for data, says := range map[string]string{dir: dir + " can be written", filepath.Join(dir, "a", "b"): dir + " can be written; " + filepath.Join(dir, "a", "b") + " is made in it"} {
		if c := dataFolder(data); !c.OK || !strings.HasPrefix(c.Found, says) {
			t.Errorf("%+v, want %q", c, says)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := dataFolder(filepath.Join(file, "data")); c.OK || c.Advice == "" {
		t.Errorf("below a file: %+v", c)
	}
}

// What a server that works warns of is something to do.
func TestDoctorTellsWarnings(t *testing.T) {
	const warning = "stream SCU_STATE has 1 of 3 replicas"
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/health") {
			json.NewEncoder(w).Encode(client.Health{Status: client.Healthy, Warnings: []string{warning}})
		} else {
			json.NewEncoder(w).Encode(client.TrainerList{})
		}
	}))
	defer api.Close()
	c, asked := server(t.Context(), Settings{APIURL: api.URL, from: map[string]string{"api-url": "--api-url"}})
	if !asked || c.OK || c.Advice != warning {
		t.Errorf("%+v", c)
	}
}
