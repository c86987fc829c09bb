// Package s3test starts a real S3 server for tests: versitygw, over a folder.
package s3test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/shannon-control/scu/porttest"
)

// How to reach what a server has.
const (
	AccessKey = "tester"
	SecretKey = "a secret of this test"
	Bucket    = "scu-test"
	Region    = "us-east-1"
)

// Server is one of them, with a bucket.
type Server struct {
	Addr string
	Root string // <root>/<bucket>/<object>
}

// program finds versitygw, which scripts/setup-test.sh installs into bin of the repository.
func program(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path
	}
	dir, err := os.Getwd()
	for above := ""; err == nil && dir != above; above, dir = dir, filepath.Dir(dir) {
		path := filepath.Join(dir, "bin", "versitygw")
		if _, none := os.Stat(path); none == nil {
			return path
		}
	}
	t.Fatal("no S3 server to test with: run scripts/setup-test.sh")
	return ""
}

// Start starts one, which ends with the test.
func Start(t *testing.T) *Server {
	t.Helper()
	l, err := porttest.S3.Listen()
	if err != nil {
		t.Fatal(err)
	}
	g := &Server{Addr: l.Addr().String(), Root: t.TempDir()}
	l.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "versitygw.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program(t), "--port", g.Addr, "--access", AccessKey, "--secret", SecretKey, "--region", Region, "posix", "--sidecar", t.TempDir(), g.Root)
	c.Stdout, c.Stderr = log, log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		if out, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the S3 server says: %s", out[max(0, len(out)-3000):])
		}
		log.Close()
	})
	client := g.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		err := client.MakeBucket(ctx, Bucket, minio.MakeBucketOptions{Region: Region})
		if err == nil {
			return g
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the S3 server doesn't come up: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Client makes a client of it.
func (g *Server) Client(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(g.Addr, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), Region: Region, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
