package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Large files go to storage behind the Hub by Git LFS's batch API: the Hub gives presigned links,
// for the whole file ("basic") or for parts of it (the Hub's own "multipart").
// https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md

// lfsType is the media type of the LFS calls.
const lfsType = "application/vnd.git-lfs+json"

// lfsObject is one file in the batch answer.
type lfsObject struct {
	OID     string `json:"oid"`
	Actions *struct {
		Upload *lfsLink `json:"upload"`
		Verify *lfsLink `json:"verify"`
	} `json:"actions"` // nil: the storage has the file
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

type lfsLink struct {
	Href   string                     `json:"href"`
	Header map[string]json.RawMessage `json:"header"` // multipart: "chunk_size", and a link for each part number
}

// sendLarge brings files to the storage, those that it does not have.
func (u *upload) sendLarge(ctx context.Context, files []*source) error {
	for batch := range slices.Chunk(files, batchFiles) {
		objects, err := u.batch(ctx, batch)
		if err != nil {
			return fmt.Errorf("ask for upload links: %w", err)
		}
		for _, s := range batch {
			object, ok := objects[s.sha256]
			if !ok {
				return fmt.Errorf("%s: no upload link in the answer", s.path)
			}
			if err := u.sendObject(ctx, s, object); err != nil {
				return fmt.Errorf("%s: %w", s.path, err)
			}
		}
	}
	return nil
}

// batch asks for links, by sha256.
func (u *upload) batch(ctx context.Context, files []*source) (map[string]lfsObject, error) {
	type object struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	var ask []object
	for _, s := range files {
		if o := (object{s.sha256, s.size}); !slices.Contains(ask, o) { // two files may have one content
			ask = append(ask, o)
		}
	}
	var answer struct {
		Objects []lfsObject `json:"objects"`
	}
	err := u.callJSON(ctx, call{
		url:    u.endpoint() + "/" + u.repo + ".git/info/lfs/objects/batch",
		header: http.Header{"Accept": {lfsType}, "Content-Type": {lfsType}},
	}, map[string]any{
		"operation": "upload",
		"transfers": []string{"basic", "multipart"},
		"objects":   ask,
		"hash_algo": "sha256",
		"ref":       map[string]string{"name": u.opt.Revision},
	}, &answer)
	if err != nil {
		return nil, err
	}
	objects := map[string]lfsObject{}
	for _, o := range answer.Objects {
		objects[o.OID] = o
	}
	return objects, nil
}

func (u *upload) sendObject(ctx context.Context, s *source, object lfsObject) error {
	if object.Error != nil {
		return fmt.Errorf("the Hub refuses it: %s (%d)", printable(object.Error.Message), object.Error.Code)
	}
	if object.Actions == nil || object.Actions.Upload == nil {
		return nil
	}
	link := object.Actions.Upload
	var err error
	if _, multipart := link.Header["chunk_size"]; multipart {
		err = u.sendParts(ctx, s, link)
	} else {
		_, err = u.put(ctx, s, link.Href, 0, s.size)
	}
	if err != nil {
		return err
	}
	if verify := object.Actions.Verify; verify != nil {
		err := u.callJSON(ctx, call{url: u.atEndpoint(verify.Href)}, map[string]any{"oid": s.sha256, "size": s.size}, nil)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	return nil
}

// sendParts sends a file part by part and then the list of their etags.
func (u *upload) sendParts(ctx context.Context, s *source, link *lfsLink) error {
	links, chunk, err := link.parts(s.size)
	if err != nil {
		return err
	}
	type part struct {
		Number int    `json:"partNumber"`
		ETag   string `json:"etag"`
	}
	var parts []part
	for i, href := range links {
		start := int64(i) * chunk
		header, err := u.put(ctx, s, href, start, min(chunk, s.size-start))
		if err != nil {
			return fmt.Errorf("part %d of %d: %w", i+1, len(links), err)
		}
		etag := header.Get("ETag")
		if etag == "" {
			return fmt.Errorf("part %d of %d: the storage answers without an etag", i+1, len(links))
		}
		parts = append(parts, part{i + 1, etag})
	}
	err = u.callJSON(ctx, call{
		url:    u.atEndpoint(link.Href),
		header: http.Header{"Accept": {lfsType}, "Content-Type": {lfsType}},
		noAuth: true,
	}, map[string]any{"oid": s.sha256, "parts": parts}, nil)
	if err != nil {
		return fmt.Errorf("join the parts: %w", err)
	}
	return nil
}

// parts reads the links, in order, and the bytes of each part but the last.
func (l *lfsLink) parts(size int64) (links []string, chunk int64, err error) {
	bad := func(problem string) ([]string, int64, error) {
		return nil, 0, errors.New("the Hub's multipart links are not valid: " + problem)
	}
	text := strings.Trim(string(l.Header["chunk_size"]), `"`) // a number, or one in quotes
	chunk, err = strconv.ParseInt(text, 10, 64)
	if err != nil || chunk <= 0 {
		return bad("chunk_size")
	}
	count := (size-1)/chunk + 1
	byNumber := map[int64]string{}
	for key, value := range l.Header {
		number, err := strconv.ParseUint(key, 10, 31)
		if err != nil {
			continue // "chunk_size" and whatever else there is
		}
		var href string
		if err := json.Unmarshal(value, &href); err != nil {
			return bad("part " + key)
		}
		byNumber[int64(number)] = href
	}
	if int64(len(byNumber)) != count {
		return bad(fmt.Sprintf("%d links for %d parts", len(byNumber), count))
	}
	for number := range count {
		href, ok := byNumber[number+1]
		if !ok {
			return bad(fmt.Sprintf("no part %d", number+1))
		}
		links = append(links, href)
	}
	return links, chunk, nil
}

// put sends n bytes of a file from offset to a presigned link, and returns the answer's header.
func (u *upload) put(ctx context.Context, s *source, href string, offset, n int64) (http.Header, error) {
	report := u.reporter(s.path)
	resp, err := u.do(ctx, call{
		method: http.MethodPut,
		url:    u.atEndpoint(href),
		body: func() io.Reader {
			return &countingReader{io.NewSectionReader(s, offset, n), offset, func(done int64) { report(done, s.size) }}
		},
		size:   n,
		noAuth: true,
	})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return resp.Header, nil
}

// atEndpoint sends links to the public Hub through a mirror that the user has set.
func (c *Client) atEndpoint(href string) string {
	if rest, ok := strings.CutPrefix(href, DefaultEndpoint+"/"); ok {
		return c.endpoint() + "/" + rest
	}
	return href
}

// countingReader reports how far a body has been read.
type countingReader struct {
	io.Reader
	done   int64
	report func(done int64)
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.done += int64(n)
		r.report(r.done)
	}
	return n, err
}
