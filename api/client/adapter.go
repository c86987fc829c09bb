package client

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// Bounds of what Unzip takes out of a zip.
const (
	maxUnzipped = 64 << 30
	maxEntries  = 10_000
)

// DownloadAdapter saves the adapter of a completed job as <id>_adapter.zip in the
// folder dir, which is created if missing, and returns the path. Its sha256
// is checked; after an error nothing is left. progress may be nil.
func (c *Client) DownloadAdapter(ctx context.Context, id, dir string, progress Progress) (path string, err error) {
	return c.downloadFile(ctx, id, "/adapter", id+"_adapter.zip", dir, progress)
}

// DownloadGGUF is DownloadAdapter for the adapter as one GGUF file, <id>_adapter.gguf, with
// weights of a type: f32, f16, bf16 or q8_0.
func (c *Client) DownloadGGUF(ctx context.Context, id, as, dir string, progress Progress) (path string, err error) {
	return c.downloadFile(ctx, id, "/adapter.gguf?type="+url.QueryEscape(as), id+"_adapter.gguf", dir, progress)
}

// DownloadCheckpoint is DownloadAdapter for a checkpoint: that of a step, or "last" or
// "best". The file is <id>_step<step>_adapter.zip.
func (c *Client) DownloadCheckpoint(ctx context.Context, id, step, dir string, progress Progress) (path string, err error) {
	if n, err := strconv.Atoi(step); step != "last" && step != "best" && (err != nil || n < 1) {
		return "", scu.Errorf(scu.CodeInvalid, "%.40q names no checkpoint", step).WithHint("give a step, last or best")
	}
	return c.downloadFile(ctx, id, "/checkpoints/"+step, "", dir, progress)
}

// downloadFile saves what a job's path answers with under name, or under the server's
// own name for it if that is empty.
func (c *Client) downloadFile(ctx context.Context, id, rest, name, dir string, progress Progress) (path string, err error) {
	if !scu.ValidJobID(id) { // it becomes a file's name
		return "", scu.NoJob(id)
	}
	resp, err := c.do(ctx, http.MethodGet, jobPath(id, rest), nil, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", refused(resp)
	}
	want := strings.Trim(resp.Header.Get("ETag"), `"`)
	if !scu.ValidFileID(want) {
		return "", notOurs(resp)
	}
	if name == "" {
		_, params, _ := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
		if name = params["filename"]; !checkpointFile.MatchString(name) || !strings.HasPrefix(name, id) {
			return "", notOurs(resp)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", scu.Errorf(scu.CodeInvalid, "download: %w", err)
	}
	path = filepath.Join(dir, name)
	err = atomicfile.Write(path, 0o644, func(w io.Writer) error {
		h := sha256.New()
		if _, err := io.Copy(io.MultiWriter(w, h), counted(resp.Body, resp.ContentLength, progress)); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return scu.Errorf(scu.CodeUnavailable, "the download broke off: %w", err).WithHint("try again")
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			return scu.Errorf(scu.CodeUnavailable, "the download is damaged: sha256 %s, not %s", got, want).WithHint("try again")
		}
		return nil
	})
	if known := (*scu.Error)(nil); err != nil && ctx.Err() == nil && !errors.As(err, &known) {
		err = scu.Errorf(scu.CodeStorage, "download: %w", err)
	}
	if err != nil {
		return "", err
	}
	return path, nil
}

// checkpointFile matches the names that the server gives checkpoints.
var checkpointFile = regexp.MustCompile(`^[0-9a-f]{16}_step[0-9]{1,9}_adapter\.zip$`)

// Unzip takes a zip's files out into the folder dir, which it makes, over files of
// the same name. Entries that would lie outside dir, links and whatever isn't a
// plain file or a folder are refused, as is a zip of more than 64 GiB or 10,000
// entries. After an error some files may be there.
func Unzip(path, dir string) error {
	if err := unzip(path, dir, maxUnzipped); err != nil {
		var e *scu.Error
		if errors.As(err, &e) {
			return err
		}
		return scu.Errorf(scu.CodeInvalid, "unzip %s: %w", path, err)
	}
	return nil
}

func unzip(path, dir string, limit int64) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	if len(z.File) > maxEntries {
		return fmt.Errorf("%d entries, more than %d", len(z.File), maxEntries)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // no name, and no link that lies there, leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	for _, entry := range z.File {
		name := entry.Name
		if !filepath.IsLocal(filepath.FromSlash(strings.TrimSuffix(name, "/"))) || strings.Contains(name, `\`) {
			return fmt.Errorf("entry %q would lie outside the folder", name)
		}
		if entry.Mode().IsDir() {
			if err := root.MkdirAll(filepath.FromSlash(strings.TrimSuffix(name, "/")), 0o755); err != nil {
				return err
			}
			continue
		}
		if !entry.Mode().IsRegular() {
			return fmt.Errorf("entry %q is not a regular file", name)
		}
		n, err := extract(root, entry, limit)
		if err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
		limit -= n
	}
	return nil
}

// extract writes one entry, which is counted as it unpacks: what a zip says of
// its sizes may be a lie.
func extract(root *os.Root, entry *zip.File, limit int64) (int64, error) {
	if entry.UncompressedSize64 > math.MaxInt64 || int64(entry.UncompressedSize64) > limit {
		return 0, errTooMuch
	}
	r, err := entry.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	name := filepath.FromSlash(entry.Name)
	if parent := filepath.Dir(name); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return 0, err
		}
	}
	// Never through a link that lies there: a file anew.
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = errTooMuch
	}
	return n, errors.Join(err, f.Close())
}

var errTooMuch = errors.New("too much to unpack")
