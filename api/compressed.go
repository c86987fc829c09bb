package api

import (
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/shannon-control/scu"
)

// decompress takes bodies that are compressed with gzip. They are unpacked as they are
// read, so that every bound of a body is a bound of its decompressed bytes. Other encodings are
// refused, and not taken for the plain text.
func decompress(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch encoding := strings.ToLower(strings.Join(r.Header.Values("Content-Encoding"), ", ")); encoding {
		case "", "identity":
		case "gzip", "x-gzip":
			r = r.WithContext(r.Context()) // a copy
			r.Header = r.Header.Clone()
			r.Header.Del("Content-Encoding")
			r.Header.Del("Content-Length") // of the compressed body
			r.ContentLength = -1
			r.Body = &gunzip{body: r.Body}
		default:
			w.Header().Set("Accept-Encoding", "gzip")
			write(w, r, refuse(http.StatusUnsupportedMediaType, scu.Errorf(scu.CodeUnsupported, "bodies in the encoding %.40q can't be read", encoding).
				WithHint("send the body as it is, or with Content-Encoding: gzip")))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// gunzip unpacks a body. It begins when it is read first: a handler may refuse before.
type gunzip struct {
	body io.ReadCloser
	zip  *gzip.Reader
}

func (g *gunzip) Read(p []byte) (n int, err error) {
	if g.zip == nil {
		if g.zip, err = gzip.NewReader(g.body); err != nil {
			return 0, brokenGzip(err)
		}
	}
	n, err = g.zip.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, brokenGzip(err)
}

func (g *gunzip) Close() error { return g.body.Close() }

// brokenGzip is the error of bytes that gzip didn't make, or not to their end.
func brokenGzip(err error) error {
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, new(flate.CorruptInputError)) {
		return scu.Errorf(scu.CodeInvalid, "the body is not whole gzip data, as its Content-Encoding says: %w", err).WithHint("compress it again, or send it as it is")
	}
	return err
}
