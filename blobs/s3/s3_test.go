package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/blobtest"
	"github.com/shannon-control/scu/blobs/s3/s3test"
)

func TestMain(m *testing.M) {
	blobtest.Child(func(ctx context.Context, address string) (scu.Blobs, error) {
		var o Options
		if err := json.Unmarshal([]byte(address), &o); err != nil {
			return nil, err
		}
		return Open(ctx, o)
	})
	os.Exit(m.Run())
}

func open(t *testing.T, o Options) *Blobs {
	t.Helper()
	b, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBlobs(t *testing.T) {
	g := s3test.Start(t)
	worlds := 0
	blobtest.Run(t, func(t *testing.T) blobtest.World {
		worlds++
		o := options(g, t.TempDir(), fmt.Sprint("world/", worlds))
		b := open(t, o)
		harm := func(change func([]byte) []byte) func(*testing.T, scu.BlobKey) {
			return func(t *testing.T, key scu.BlobKey) {
				path := filepath.Join(g.Root, s3test.Bucket, b.object(key))
				data, err := os.ReadFile(path)
				if err == nil {
					err = os.WriteFile(path, change(data), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		address, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return blobtest.World{
			Blobs: b, Address: string(address),
			Damage: harm(func(data []byte) []byte { data[len(data)/2]++; return data }),
			Lose:   harm(func(data []byte) []byte { return data[:len(data)/2] }),
		}
	})
}

var zip = scu.BlobKey{Kind: scu.AdapterBlob, Name: "0123456789abcdef.1"}

// Whatever breaks on the way is tried again; what comes is what was stored.
func TestFaultsOnTheWay(t *testing.T) {
	g := s3test.Start(t)
	data := blobtest.Bytes(40 << 20) // three parts
	answer := func(r *http.Request, status int) *http.Response {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r, ProtoMajor: 1, ProtoMinor: 1}
	}
	// every is true for the first of each two requests that ask for or bring bytes.
	every := func(method string) func(*http.Request) bool {
		var n atomic.Int64
		return func(r *http.Request) bool {
			return r.Method == method && strings.Contains(r.URL.Path, zip.Name) && n.Add(1)%2 == 1
		}
	}
	for name, makeFaults := range map[string]func() *faults{
		"500": func() *faults {
			get, put := every("GET"), every("PUT")
			return &faults{request: func(r *http.Request) (*http.Response, error) {
				if get(r) || put(r) {
					return answer(r, 500), nil
				}
				return nil, nil
			}}
		},
		"503": func() *faults {
			get, put := every("GET"), every("PUT")
			return &faults{request: func(r *http.Request) (*http.Response, error) {
				if get(r) || put(r) {
					return answer(r, 503), nil
				}
				return nil, nil
			}}
		},
		"connection reset": func() *faults {
			get, put := every("GET"), every("PUT")
			return &faults{request: func(r *http.Request) (*http.Response, error) {
				if get(r) || put(r) {
					return nil, fmt.Errorf("write: %w", syscall.ECONNRESET)
				}
				return nil, nil
			}}
		},
		"body cut off without a word": func() *faults {
			return &faults{body: func(r *http.Request, b io.ReadCloser) io.ReadCloser {
				if r.Method == "GET" && strings.Contains(r.URL.Path, zip.Name) {
					return struct {
						io.Reader
						io.Closer
					}{io.LimitReader(b, 9<<20), b}
				}
				return b
			}}
		},
		"body broken off": func() *faults {
			return &faults{body: func(r *http.Request, b io.ReadCloser) io.ReadCloser {
				if r.Method == "GET" && strings.Contains(r.URL.Path, zip.Name) {
					return struct {
						io.Reader
						io.Closer
					}{io.MultiReader(io.LimitReader(b, 9<<20), iotest.ErrReader(syscall.ECONNRESET)), b}
				}
				return b
			}}
		},
		"slow": func() *faults {
			return &faults{body: func(r *http.Request, b io.ReadCloser) io.ReadCloser {
				return struct {
					io.Reader
					io.Closer
				}{iotest.HalfReader(b), b}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(g, t.TempDir(), name[:3])
			o.transport = makeFaults()
			b := open(t, o)
			if _, err := b.Put(t.Context(), zip, bytes.NewReader(data), scu.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			r, _, err := b.Get(t.Context(), zip, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
			}
		})
	}
	t.Run("bytes changed on the way", func(t *testing.T) {
		o := options(g, t.TempDir(), "changed")
		f := &faults{}
		o.transport = f
		b := open(t, o)
		if _, err := b.Put(t.Context(), zip, bytes.NewReader(data), scu.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		f.body = func(r *http.Request, body io.ReadCloser) io.ReadCloser {
			if r.Method != "GET" {
				return body
			}
			return struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(body, 1000), strings.NewReader("x"), skip{body}), body}
		}
		if _, err := scu.VerifyBlob(t.Context(), b, zip); scu.CodeOf(err) != scu.CodeDamaged {
			t.Errorf("got %v", err)
		}
	})
	t.Run("down for good", func(t *testing.T) {
		o := options(g, t.TempDir(), "down")
		f := &faults{}
		o.transport = f
		b := open(t, o)
		f.request = func(r *http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
		if _, err := b.Put(t.Context(), zip, strings.NewReader("x"), scu.PutOptions{}); scu.CodeOf(err) != scu.CodeUnavailable {
			t.Errorf("got %v", err)
		}
		f.request = nil
		if _, err := b.Stat(t.Context(), zip); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a clock that is hours off", func(t *testing.T) {
		o := options(g, t.TempDir(), "clock")
		f := &faults{}
		o.transport = f
		b := open(t, o)
		f.request = func(r *http.Request) (*http.Response, error) {
			r.Header.Set("X-Amz-Date", time.Now().Add(-3*time.Hour).UTC().Format("20060102T150405Z"))
			return nil, nil
		}
		// The job isn't to fail for it: another trainer's clock is right.
		if _, err := b.Put(t.Context(), zip, strings.NewReader("x"), scu.PutOptions{}); scu.CodeOf(err) != scu.CodeUnavailable || !strings.Contains(err.Error(), "clock") {
			t.Errorf("got %v", err)
		}
	})
}

// skip passes over one byte.
type skip struct{ r io.Reader }

func (s skip) Read(p []byte) (int, error) {
	if _, err := io.CopyN(io.Discard, s.r, 1); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// A process that is killed while it sends leaves parts that nobody sees, which a sweep
// removes once they are old.
func TestPartsOfADeadPutAreSwept(t *testing.T) {
	g := s3test.Start(t)
	b := open(t, options(g, t.TempDir(), "p"))
	core := minio.Core{Client: g.Client(t)}
	id, err := core.NewMultipartUpload(t.Context(), s3test.Bucket, b.object(zip), minio.PutObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := blobtest.Bytes(5 << 20)
	if _, err := core.PutObjectPart(t.Context(), s3test.Bucket, b.object(zip), id, 1, bytes.NewReader(part), int64(len(part)), minio.PutObjectPartOptions{}); err != nil {
		t.Fatal(err)
	}
	parts := func() (n int) {
		for up := range core.Client.ListIncompleteUploads(t.Context(), s3test.Bucket, "p/", true) {
			if up.Err != nil {
				t.Fatal(up.Err)
			}
			n++
		}
		return n
	}
	if _, err := b.Stat(t.Context(), zip); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("half an object: %v", err)
	}
	for before, left := range map[time.Duration]int{-time.Hour: 1} {
		if err := b.Sweep(t.Context(), time.Now().Add(before)); err != nil || parts() != left {
			t.Errorf("%d uploads are left, want %d, %v", parts(), left, err)
		}
	}
	if err := b.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || parts() != 0 {
		t.Errorf("%d uploads are left, %v", parts(), err)
	}
}

func TestWhatADeadProcessWasSendingIsSwept(t *testing.T) {
	g, dir := s3test.Start(t), t.TempDir()
	for name, age := range map[string]time.Duration{"old": 2 * staleAfter, "fresh": 0} {
		path, then := filepath.Join(dir, "sending-"+name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	open(t, options(g, dir, ""))
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "sending-fresh" {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWhatCantBeOpened(t *testing.T) {
	g := s3test.Start(t)
	for name, c := range map[string]struct {
		change func(*Options)
		code   scu.Code
	}{
		"no such bucket": {func(o *Options) { o.Bucket = "nobodys" }, scu.CodeInvalid},
		"a wrong secret": {func(o *Options) { o.SecretKey = "wrong" }, scu.CodeForbidden},
		"a wrong key":    {func(o *Options) { o.AccessKey = "nobody" }, scu.CodeForbidden},
		"nobody there":   {func(o *Options) { o.Endpoint = "http://127.0.0.1:1" }, scu.CodeUnavailable},
		"no address":     {func(o *Options) { o.Endpoint = "localhost:9000" }, scu.CodeInvalid},
	} {
		o := options(g, t.TempDir(), "")
		c.change(&o)
		_, err := Open(t.Context(), o)
		if scu.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), s3test.SecretKey) {
			t.Errorf("%s tells the secret: %v", name, err)
		}
	}
	for s, want := range map[string]string{"s3://b": "b|", "s3://b/": "b|", "s3://b/a/c/": "b|a/c", "s3:/b": "", "http://b/c": "", "s3://u:p@b/c": "", "s3://": "", "s3://b/?x=1": ""} {
		bucket, prefix, err := ParseURL(s)
		if got := bucket + "|" + prefix; err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}
