package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
)

const (
	maxWeights = 1 << 40   // bytes of one safetensors file
	maxText    = 256 << 20 // bytes of any other file
)

// fileInfo is what the Hub says of one file at one revision.
type fileInfo struct {
	commit string // of the revision
	etag   string // sha256 of a large file, git blob sha1 of a small one
	size   int64  // bytes; -1 when the server did not say
	limit  int64  // of the bytes; 0: that of its kind
}

func (c *Client) fileURL(repo, revision, file string) string {
	return c.endpoint() + "/" + repo + "/resolve/" + url.PathEscape(revision) + "/" + escapePath(file)
}

// head asks for a file's name in the cache, without its content.
func (c *Client) head(ctx context.Context, repo, revision, file string, once bool) (fileInfo, error) {
	resp, err := c.do(ctx, call{
		method:      http.MethodHead,
		url:         c.fileURL(repo, revision, file),
		stopAtOther: true,
		once:        once,
	})
	if err != nil {
		return fileInfo{}, err
	}
	defer resp.Body.Close()
	info := fileInfo{commit: resp.Header.Get("X-Repo-Commit"), size: -1}
	etag := resp.Header.Get("X-Linked-Etag")
	if etag == "" {
		etag = resp.Header.Get("ETag")
	}
	info.etag = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	if !isCommit(info.commit) || !isETag(info.etag) {
		return fileInfo{}, fmt.Errorf("%s names no commit or no etag: not a Hugging Face Hub: check HF_ENDPOINT", c.endpoint())
	}
	size := resp.Header.Get("X-Linked-Size")
	if size == "" && resp.StatusCode < 300 {
		size = resp.Header.Get("Content-Length")
	}
	if size != "" {
		if info.size, err = length(size); err != nil {
			return fileInfo{}, fmt.Errorf("the Hub gives the size as %q", printable(size))
		}
	}
	return info, nil
}

// maxSize bounds a file by its kind.
func maxSize(file string) int64 {
	if strings.HasSuffix(file, ".safetensors") {
		return maxWeights
	}
	return maxText
}

// download brings one file of a commit into the cache: its blob, if it is not there yet, and
// the snapshot's link to it.
func (c *Client) download(ctx context.Context, repo, file string, info fileInfo) error {
	if info.limit == 0 {
		info.limit = maxSize(file)
	}
	if info.size > info.limit {
		return fmt.Errorf("%d bytes, more than the %d that such a file may have", info.size, info.limit)
	}
	cache := c.cache(repo)
	unlock, err := cache.lock(ctx, info.etag)
	if err != nil {
		return err
	}
	defer unlock()
	if !exists(cache.blob(info.etag)) {
		if err := cache.tag(); err != nil {
			return err
		}
		if err := c.downloadBlob(ctx, cache, repo, file, info); err != nil {
			return err
		}
	}
	return cache.link(info.commit, file, info.etag)
}

// downloadBlob fetches a blob into its .incomplete file, going on from what is there, checks it
// and gives it its name. After an error the .incomplete file stays for the next time, unless its
// content is wrong.
func (c *Client) downloadBlob(ctx context.Context, cache repoCache, repo, file string, info fileInfo) error {
	f, err := cache.openPartial(info.etag)
	if err != nil {
		return err
	}
	defer f.Close()
	p := &partial{File: f, want: info.size, limit: info.limit, report: c.reporter(file)}
	if p.have, err = f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	err = c.retry(ctx, maxRetries, func() (bool, error) {
		before := p.have
		err := c.fetch(ctx, c.fileURL(repo, info.commit, file), p)
		if err == nil {
			err = p.verify(info.etag)
		}
		return p.have > before, err
	})
	if err != nil {
		if p.have == 0 {
			os.Remove(f.Name())
		}
		return err
	}
	// Once it has its name a blob is taken as whole for ever, so it must be on the disk first.
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), cache.blob(info.etag))
}

// partial is a file in progress.
type partial struct {
	*os.File
	have   int64 // bytes written
	want   int64 // bytes in all; -1 when not known yet
	limit  int64 // of want
	pieced bool  // what is there came in more than one piece
	report func(done, total int64)
}

// restart throws away what is there.
func (p *partial) restart() error {
	p.have, p.pieced = 0, false
	if err := p.Truncate(0); err != nil {
		return err
	}
	_, err := p.Seek(0, io.SeekStart)
	return err
}

// corrupt restarts and says why.
func (p *partial) corrupt(format string, args ...any) error {
	if err := p.restart(); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// fetch requests what is missing and appends it. On an error p says how far it came.
func (c *Client) fetch(ctx context.Context, url string, p *partial) error {
	if p.want >= 0 && p.have > p.want {
		if err := p.restart(); err != nil {
			return err
		}
	}
	p.pieced = p.have > 0
	if p.have == p.want {
		return nil
	}
	a := call{method: http.MethodGet, url: url}
	if p.have > 0 {
		a.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", p.have)}}
	}
	resp, err := c.send(ctx, a)
	if err != nil {
		var status *StatusError
		if errors.As(err, &status) && status.Status == http.StatusRequestedRangeNotSatisfiable {
			return p.corrupt("the server has no byte %d of the file", p.have)
		}
		return err
	}
	defer resp.Body.Close()
	total := resp.ContentLength
	if resp.StatusCode == http.StatusPartialContent {
		var first int64
		if first, total, err = contentRange(resp.Header.Get("Content-Range")); err != nil || first != p.have {
			return p.corrupt("the server sent %q instead of the range from byte %d", printable(resp.Header.Get("Content-Range")), p.have)
		}
	} else if err := p.restart(); err != nil { // 200: the whole file, though a range was asked for
		return err
	}
	if p.want < 0 {
		p.want = total
	}
	if total >= 0 && total != p.want {
		return p.corrupt("the server sends %d bytes of a file of %d", total, p.want)
	}
	if p.want > p.limit {
		return fmt.Errorf("%d bytes, more than the %d that such a file may have", p.want, p.limit)
	}
	return p.receive(resp)
}

// receive appends an answer's body, no more than the file may still grow.
func (p *partial) receive(resp *http.Response) error {
	end := p.want
	if end < 0 {
		end = p.limit
	}
	buf := make([]byte, 256<<10)
	for {
		n, err := resp.Body.Read(buf)
		if int64(n) > end-p.have {
			return p.corrupt("the server sends more than %d bytes", end)
		}
		if n > 0 {
			if _, err := p.Write(buf[:n]); err != nil {
				return err
			}
			p.have += int64(n)
			p.report(p.have, p.want)
		}
		switch {
		case err == io.EOF && p.want < 0:
			p.want = p.have
			return nil
		case err == io.EOF && p.have == p.want:
			return nil
		case err == io.EOF:
			return networkError(resp.Request, fmt.Errorf("ended after %d of %d bytes", p.have, p.want))
		case err != nil:
			return networkError(resp.Request, err)
		}
	}
}

// contentRange reads "bytes first-last/total"; total is -1 when it is "*".
func contentRange(s string) (first, total int64, err error) {
	span, all, _ := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	from, _, _ := strings.Cut(span, "-")
	if first, err = length(from); err != nil || all == "*" {
		return first, -1, err
	}
	total, err = length(all)
	return first, total, err
}

// length reads a number of bytes.
func length(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// verify checks the whole file against its etag; one put together wrongly from pieces is worth
// another try, one that came wrong in one piece is not. Other etags than the Hub's two kinds of hash
// (mirrors have them) say nothing about the content.
func (p *partial) verify(etag string) error {
	var h hash.Hash
	switch {
	case len(etag) == 64 && isHex(etag):
		h = sha256.New()
	case len(etag) == 40 && isHex(etag):
		h = gitBlob(p.have)
	default:
		return nil
	}
	if _, err := io.Copy(h, io.NewSectionReader(p.File, 0, p.have)); err != nil {
		return err
	}
	got := hex.EncodeToString(h.Sum(nil))
	if got == etag {
		return nil
	}
	pieced := p.pieced
	err := p.corrupt("its hash is %s instead of %s", got, etag)
	if !pieced {
		return permanent{err}
	}
	return err
}

// gitBlob begins the hash by which git names a file of the given size.
func gitBlob(size int64) hash.Hash {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}
