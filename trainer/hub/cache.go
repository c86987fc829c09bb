package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// repoCache is one model's part of the cache, laid out as Python's huggingface_hub does:
//
//	models--owner--name/
//	  blobs/<etag>                      content, named by its hash
//	  blobs/<etag>.<8 hex>.incomplete   a download in progress, or one that was cut off
//	  refs/<revision>                   the commit that a branch or tag pointed to last
//	  snapshots/<commit>/<file>         link to ../../blobs/<etag>
//	  .no_exist/<commit>/<file>         empty: the commit has no such file
//	  .headers/<commit>/<file>          ours: a safetensors file's size, a newline, and its start up to the data
//	.locks/models--owner--name/<etag>.lock
type repoCache struct {
	root string // of the whole cache
	name string // models--owner--name
}

func (c *Client) cache(repo string) repoCache {
	return repoCache{c.CacheDir, repoFolder(repo)}
}

func (r repoCache) path(parts ...string) string {
	return filepath.Join(append([]string{r.root, r.name}, parts...)...)
}

func (r repoCache) snapshot(commit string) string { return r.path("snapshots", commit) }

func (r repoCache) blob(etag string) string { return r.path("blobs", etag) }

func (r repoCache) pointer(commit, file string) string {
	return filepath.Join(r.snapshot(commit), filepath.FromSlash(file))
}

// has reports whether the commit's file is there, whole: a link whose blob is gone is not.
func (r repoCache) has(commit, file string) bool { return exists(r.pointer(commit, file)) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// isMissing reports whether the commit is known to have no such file; markMissing notes it.
func (r repoCache) isMissing(commit, file string) bool {
	return exists(r.path(".no_exist", commit, filepath.FromSlash(file)))
}

func (r repoCache) markMissing(commit, file string) error {
	return writeWhole(r.path(".no_exist", commit, filepath.FromSlash(file)), nil)
}

func (r repoCache) headerPath(commit, file string) string {
	return r.path(".headers", commit, filepath.FromSlash(file))
}

// commit is what the revision pointed to when it was last asked for; "" when it never was.
func (r repoCache) commit(revision string) string {
	text, err := os.ReadFile(r.path("refs", filepath.FromSlash(revision)))
	if err != nil || !isCommit(string(text)) {
		return ""
	}
	return string(text)
}

func (r repoCache) setCommit(revision, commit string) error {
	if revision == commit || r.commit(revision) == commit {
		return nil
	}
	return writeWhole(r.path("refs", filepath.FromSlash(revision)), []byte(commit))
}

// link makes the commit's file point to a blob.
func (r repoCache) link(commit, file, etag string) error {
	pointer := r.pointer(commit, file)
	if err := os.MkdirAll(filepath.Dir(pointer), 0o777); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(pointer), r.blob(etag))
	if err != nil {
		return err
	}
	temp := pointer + "." + randomHex() + ".tmp"
	if err := os.Symlink(target, temp); err != nil {
		// No symbolic links here (Windows without the right to make them): a hard link does.
		if err := os.Link(r.blob(etag), temp); err != nil {
			return err
		}
	}
	return os.Rename(temp, pointer)
}

// lock keeps other downloads of the blob out, those of Python too, until unlock. The system ends
// it with the process, however that ends.
func (r repoCache) lock(ctx context.Context, etag string) (unlock func(), err error) {
	path := filepath.Join(r.root, ".locks", r.name, etag+".lock")
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return nil, err
	}
	lock := flock.New(path, flock.SetPermissions(0o664))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { lock.Close() }, nil
}

// openPartial opens the blob's file in progress for writing: the longest that an earlier
// download left, else an empty one. Call it under the lock, when they belong to nobody. It is
// renamed first, so that a process that ignores the lock cannot take it as well.
func (r repoCache) openPartial(etag string) (*os.File, error) {
	if err := os.MkdirAll(r.path("blobs"), 0o777); err != nil {
		return nil, err
	}
	path := r.blob(etag) + "." + randomHex() + ".incomplete"
	if left := r.longestPartial(etag); left != "" {
		if err := os.Rename(left, path); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
}

func (r repoCache) longestPartial(etag string) string {
	entries, err := os.ReadDir(r.path("blobs"))
	if err != nil {
		return ""
	}
	longest, size := "", int64(0)
	for _, entry := range entries {
		name := entry.Name()
		if !strings.HasPrefix(name, etag+".") || !strings.HasSuffix(name, ".incomplete") {
			continue
		}
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && info.Size() > size {
			longest, size = r.path("blobs", name), info.Size()
		}
	}
	return longest
}

// tag marks the cache for backup programs, which may skip it (bford.info/cachedir).
func (r repoCache) tag() error {
	path := filepath.Join(r.root, "CACHEDIR.TAG")
	if exists(path) {
		return nil
	}
	return writeWhole(path, []byte("Signature: 8a477f597d28d172789f06886806bc55\n"+
		"# This file is a cache directory tag of a Hugging Face cache.\n"))
}

// writeWhole writes a small file so that readers see all of it or nothing. Unlike atomicfile's, its
// permissions are what the umask leaves: others who share the cache, by Python's client, write it too.
func writeWhole(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	temp := path + "." + randomHex() + ".tmp"
	if err := os.WriteFile(temp, content, 0o666); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

func randomHex() string {
	var b [4]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
