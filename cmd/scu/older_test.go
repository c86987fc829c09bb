package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// The data folder of an older version, which scripts/upgrade-folder made, is opened by this
// one: the job that was killed in the middle and the one that waited end, with the bytes of
// the one that had ended then. On a CPU of another kind, with AMX or without AVX-512, the killed one
// starts over, and what it gives is what the other must.
func TestOlderFolder(t *testing.T) {
	folders, err := filepath.Glob("testdata/older/*.tar.gz")
	if err != nil || len(folders) == 0 {
		t.Fatal(folders, err)
	}
	for _, folder := range folders {
		t.Run(filepath.Base(folder), func(t *testing.T) {
			dir := t.TempDir()
			unpack(t, folder, dir)
			data := filepath.Join(dir, "data")
			list, err := os.ReadFile(filepath.Join(data, "jobs"))
			if err != nil {
				t.Fatal(err)
			}
			s, err := loadSettings(pflag.NewFlagSet("", pflag.ContinueOnError))
			if err != nil {
				t.Fatal(err)
			}
			s.Data, s.Listen, s.APIURL, s.Threads = data, "127.0.0.1:0", "", 1
			ctx, stop := context.WithTimeout(t.Context(), 5*time.Minute)
			defer stop()
			began, ended := make(chan ready, 1), make(chan error, 1)
			go func() { ended <- serve(ctx, s, func(r ready) error { began <- r; return nil }) }()
			var api *client.Client
			select {
			case r := <-began:
				if api, err = client.New(r.APIURL, ""); err != nil {
					t.Fatal(err)
				}
			case err := <-ended:
				t.Fatal(err)
			}
			jobs := strings.Fields(string(list))
			var whole [sha256.Size]byte
			for i, id := range jobs {
				if err := api.Watch(ctx, id, 0, func(client.Event) error { return nil }); err != nil {
					t.Fatal(err)
				}
				job, err := api.Job(ctx, id)
				if err != nil || job.Status != scu.Completed {
					t.Fatal(job.Status, job.Error, err)
				}
				if want := []int{1, 2, 1}[i]; job.Attempt != want {
					t.Errorf("job %d has ended in attempt %d, want %d", i+1, job.Attempt, want)
				}
				sum := adapterSum(t, api, id)
				startedOver := func(w string) bool { return strings.HasPrefix(w, "started over on ") }
				if i == 0 || slices.ContainsFunc(job.Warnings, startedOver) {
					whole = sum
				} else if sum != whole {
					t.Errorf("job %d has other bytes than before the upgrade", i+1)
				}
				page, err := api.Metrics(ctx, id, 0, 1000)
				if err != nil || len(page.Metrics) != 120 {
					t.Errorf("job %d has %d steps: %v", i+1, len(page.Metrics), err)
				}
			}
			all, err := api.Jobs(ctx, client.JobsFilter{Limit: 10})
			if err != nil || len(all.Jobs) != len(jobs) {
				t.Errorf("%d jobs are listed: %v", len(all.Jobs), err)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func adapterSum(t *testing.T, api *client.Client, id string) [sha256.Size]byte {
	t.Helper()
	dir := t.TempDir()
	zip, err := api.DownloadAdapter(t.Context(), id, dir, nil)
	if err == nil {
		err = client.Unzip(zip, filepath.Join(dir, "adapter"))
	}
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(filepath.Join(dir, "adapter", "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(weights)
}

// unpack writes what a .tar.gz has into a folder.
func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	b, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
