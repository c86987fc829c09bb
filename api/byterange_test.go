package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/shannon-control/scu"
)

func TestParseRange(t *testing.T) {
	const size = 10
	for header, want := range map[string]struct {
		r              byteRange
		whole, outside bool
	}{
		"":                                 {byteRange{0, 10}, true, false},
		"bytes=0-":                         {byteRange{0, 10}, false, false},
		"bytes=3-5":                        {byteRange{3, 3}, false, false},
		"bytes=9-9":                        {byteRange{9, 1}, false, false},
		"bytes=3-99999999999999999999":     {byteRange{3, 7}, false, false},
		"bytes=-4":                         {byteRange{6, 4}, false, false},
		"bytes=-99":                        {byteRange{0, 10}, false, false},
		"bytes=-99999999999999999999":      {byteRange{0, 10}, false, false},
		"bytes=10-":                        {byteRange{}, false, true},
		"bytes=99999999999999999999-":      {byteRange{}, false, true},
		"bytes=-0":                         {byteRange{10, 0}, false, true},
		"bytes=5-3":                        {byteRange{0, 10}, true, false},
		"bytes=0-1,4-5":                    {byteRange{0, 10}, true, false},
		"bytes=-":                          {byteRange{0, 10}, true, false},
		"bytes=":                           {byteRange{0, 10}, true, false},
		"bytes=a-b":                        {byteRange{0, 10}, true, false},
		"bytes=1--2":                       {byteRange{0, 10}, true, false},
		"bytes=+1-2":                       {byteRange{0, 10}, true, false},
		"lines=0-1":                        {byteRange{0, 10}, true, false},
		strings.Repeat("bytes=0-", 10_000): {byteRange{0, 10}, true, false},
	} {
		if r, whole, outside := parseRange(header, size); r != want.r || whole != want.whole || outside != want.outside {
			t.Errorf("%.40q gave %+v, whole %v, outside %v; want %+v", header, r, whole, outside, want)
		}
	}
}

// FuzzParseRange: whatever a client sends, a range that is answered lies in the body.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"", "bytes=0-", "bytes=-4", "bytes=3-5", "bytes=9223372036854775807-", "bytes=1-9223372036854775807", "bytes=0-1,2-3"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size <= 0 {
			return
		}
		r, whole, outside := parseRange(header, size)
		if !outside && (r.start < 0 || r.length < 1 || r.start > size-r.length) || whole && r != (byteRange{0, size}) {
			t.Errorf("%q of %d bytes gave %+v", header, size, r)
		}
	})
}

// The last byte of a range is held back until the bytes behind it are known to be right.
func TestCopyRangeHoldsTheLastByteBack(t *testing.T) {
	broken := errors.New("damaged")
	var w bytes.Buffer
	body := io.MultiReader(strings.NewReader("0123456789"), iotest.ErrReader(broken))
	if err := copyRange(&w, body, byteRange{2, 4}); !errors.Is(err, broken) || w.String() != "234" {
		t.Errorf("wrote %q, %v", w.String(), err)
	}
}

func TestDownloadRanges(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	zip := bytes.Repeat([]byte("0123456789abcdef"), 10_000)
	j := r.complete(r.begin(id, 1), zip)
	tag := strconv.Quote(j.Adapter.SHA256)
	for name, c := range map[string]struct {
		headers []string
		status  int
		want    []byte
	}{
		"the rest":              {[]string{"Range", "bytes=100000-"}, 206, zip[100_000:]},
		"a part":                {[]string{"Range", "bytes=5-70000"}, 206, zip[5:70_001]},
		"the end":               {[]string{"Range", "bytes=-7"}, 206, zip[len(zip)-7:]},
		"of the same bytes":     {[]string{"Range", "bytes=5-6", "If-Range", tag}, 206, zip[5:7]},
		"of other bytes":        {[]string{"Range", "bytes=5-6", "If-Range", `"0"`}, 200, zip},
		"by a date":             {[]string{"Range", "bytes=5-6", "If-Range", "Wed, 21 Oct 2026 07:28:00 GMT"}, 200, zip},
		"several":               {[]string{"Range", "bytes=5-6,8-9"}, 200, zip},
		"a copy that is there":  {[]string{"Range", "bytes=5-6", "If-None-Match", tag}, 304, nil},
		"any copy":              {[]string{"If-None-Match", "*"}, 304, nil},
		"beyond other bytes":    {[]string{"Range", "bytes=999999-", "If-Range", `"0"`}, 200, zip},
		"a unit that isn't one": {[]string{"Range", "steps=5-6"}, 200, zip},
	} {
		t.Run(name, func(t *testing.T) {
			status, h, body := r.ask(http.MethodGet, "/jobs/"+id+"/adapter", "", c.headers...)
			if status != c.status || body != string(c.want) {
				t.Errorf("status %d with %d bytes, want %d with %d", status, len(body), c.status, len(c.want))
			}
			if h.Get("ETag") != tag || status == 200 && h.Get("Accept-Ranges") != "bytes" {
				t.Errorf("headers %v", h)
			}
		})
	}
	_, h, _ := r.ask(http.MethodGet, "/jobs/"+id+"/adapter", "", "Range", "bytes=5-70000")
	if got := h.Get("Content-Range"); got != "bytes 5-70000/160000" || h.Get("Content-Length") != "69996" {
		t.Errorf("Content-Range %q of %q bytes", got, h.Get("Content-Length"))
	}
	status, h, body := r.ask(http.MethodGet, "/jobs/"+id+"/adapter", "", "Range", "bytes=160000-")
	r.refused(t, status, body, http.StatusRequestedRangeNotSatisfiable, scu.CodeInvalid, "Range")
	if h.Get("Content-Range") != "bytes */160000" {
		t.Errorf("headers %v", h)
	}
}
