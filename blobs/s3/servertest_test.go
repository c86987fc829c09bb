package s3

import (
	"io"
	"net/http"

	"github.com/shannon-control/scu/blobs/s3/s3test"
)

func options(g *s3test.Server, dir, prefix string) Options {
	return Options{Endpoint: "http://" + g.Addr, Region: s3test.Region, Bucket: s3test.Bucket, Prefix: prefix, AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey, Dir: dir}
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
