package s3

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// A real S3 server: versitygw, over a folder.

const (
	accessKey = "tester"
	secretKey = "a secret of this test"
	bucket    = "scu-test"
	region    = "us-east-1"
)

// gateway is one server and its folders.
type gateway struct {
	addr string
	root string // <root>/<bucket>/<object>
}

// program finds versitygw, which scripts/setup-test.sh installs.
func program(t *testing.T) string {
	if path, err := exec.LookPath("versitygw"); err == nil {
		return path
	}
	path, err := filepath.Abs("../../bin/versitygw")
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("no S3 server to test with: run scripts/setup-test.sh (%v)", err)
	}
	return path
}

func startGateway(t *testing.T) *gateway {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{addr: l.Addr().String(), root: t.TempDir()}
	l.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "versitygw.log"))
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program(t), "--port", g.addr, "--access", accessKey, "--secret", secretKey, "--region", region, "posix", "--sidecar", t.TempDir(), g.root)
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
	client := g.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: region})
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

func (g *gateway) client(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(g.addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Region: region, MaxRetries: 1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (g *gateway) options(dir, prefix string) Options {
	return Options{Endpoint: "http://" + g.addr, Region: region, Bucket: bucket, Prefix: prefix, AccessKey: accessKey, SecretKey: secretKey, Dir: dir}
}

// faults breaks what goes between client and server.
type faults struct {
	request func(*http.Request) (*http.Response, error) // nil, nil: go on
	body    func(*http.Request, io.ReadCloser) io.ReadCloser
}

func (f *faults) RoundTrip(r *http.Request) (*http.Response, error) {
	if f.request != nil {
		if resp, err := f.request(r); resp != nil || err != nil {
			return resp, err
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && f.body != nil {
		resp.Body = f.body(r, resp.Body)
	}
	return resp, err
}
