// Package folder keeps blobs in folders of this machine or of a mount that several share:
// scu.Blobs, and scu.LocalBlobs.
//
// A blob is a folder of its own, <kind>/<first two characters of the name>/<name>, which holds
// the bytes, in a file called by their sha256, and the title, in .name. The folder
// appears by one rename, as do bytes that take the place of others; both are synced before.
// No name that a user chose decides where anything is written.
package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// Blobs is a folder for each kind of blob that it has. Several processes may use it.
type Blobs struct{ roots map[scu.BlobKind]string }

var _ scu.LocalBlobs = (*Blobs)(nil)

// Open opens one folder for all kinds, which is created.
func Open(path string) (*Blobs, error) {
	roots := map[scu.BlobKind]string{}
	for _, k := range scu.BlobKinds {
		roots[k] = filepath.Join(path, string(k))
	}
	return OpenKinds(roots)
}

// OpenKinds opens a folder for each kind, which is created; of other kinds there is none.
func OpenKinds(roots map[scu.BlobKind]string) (*Blobs, error) {
	b := &Blobs{roots: map[scu.BlobKind]string{}}
	for kind, path := range roots {
		root, err := filepath.Abs(path)
		if err != nil {
			return nil, Failed("open the storage", err)
		}
		b.roots[kind] = root
		if err := os.MkdirAll(b.aside(kind), 0o700); err != nil {
			return nil, Failed("open the storage", err)
		}
	}
	return b, nil
}

// titleFile is the file, beside the bytes, that has the title. No bytes' file is called
// so.
const titleFile = ".name"

func (b *Blobs) aside(kind scu.BlobKind) string { return filepath.Join(b.roots[kind], "aside") }

func (b *Blobs) place(key scu.BlobKey) string {
	return filepath.Join(b.roots[key.Kind], key.Name[:min(2, len(key.Name))], key.Name)
}

func (b *Blobs) check(key scu.BlobKey) error {
	if b.roots[key.Kind] == "" {
		return scu.Errorf(scu.CodeInternal, "this storage keeps no %s", key.Kind)
	}
	return key.Check()
}

// Put implements scu.Blobs.
func (b *Blobs) Put(ctx context.Context, key scu.BlobKey, r io.Reader, o scu.PutOptions) (scu.Blob, error) {
	if err := b.check(key); err != nil {
		return scu.Blob{}, err
	}
	dir, err := os.MkdirTemp(b.aside(key.Kind), "")
	if err != nil {
		return scu.Blob{}, Failed("store "+key.String(), err)
	}
	defer os.RemoveAll(dir) // gone already if it became the place
	path := filepath.Join(dir, ".bytes")
	sum, err := Write(ctx, path, r, o)
	if err == nil {
		err = os.Rename(path, filepath.Join(dir, sum))
	}
	if err == nil {
		err = b.commit(key, dir, sum, o.Title)
	}
	if err != nil {
		return scu.Blob{}, Failed("store "+key.String(), err)
	}
	return b.Stat(ctx, key)
}

// Adopt implements scu.LocalBlobs.
func (b *Blobs) Adopt(ctx context.Context, key scu.BlobKey, path, sum, title string) (scu.Blob, error) {
	if err := b.check(key); err != nil {
		return scu.Blob{}, err
	}
	dir, err := os.MkdirTemp(b.aside(key.Kind), "")
	if err != nil {
		return scu.Blob{}, Failed("store "+key.String(), err)
	}
	defer os.RemoveAll(dir)
	if os.Link(path, filepath.Join(dir, sum)) != nil { // another disk, or a file system without links
		f, err := os.Open(path)
		if err != nil {
			return scu.Blob{}, Failed("store "+key.String(), err)
		}
		defer f.Close()
		return b.Put(ctx, key, f, scu.PutOptions{Title: title, SHA256: sum})
	}
	if err := b.commit(key, dir, sum, title); err != nil {
		return scu.Blob{}, Failed("store "+key.String(), err)
	}
	return b.Stat(ctx, key)
}

// commit makes a folder aside, which holds the bytes, the place of a blob; if there is one
// already, it moves what is in it.
func (b *Blobs) commit(key scu.BlobKey, dir, sum, title string) error {
	if err := writeTitle(filepath.Join(dir, titleFile), title); err != nil {
		return err
	}
	to := b.place(key)
	if err := errors.Join(atomicfile.SyncFolder(dir), os.MkdirAll(filepath.Dir(to), 0o700)); err != nil {
		return err
	}
	for range 10 {
		// A folder isn't renamed onto one that holds a file.
		if os.Rename(dir, to) == nil {
			return atomicfile.SyncFolder(filepath.Dir(to))
		}
		err := os.Rename(filepath.Join(dir, sum), filepath.Join(to, sum))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(dir, titleFile), filepath.Join(to, titleFile)); err != nil {
			return err
		}
		entries, err := os.ReadDir(to)
		for _, e := range entries {
			if e.Name() != sum && e.Name() != titleFile {
				os.Remove(filepath.Join(to, e.Name()))
			}
		}
		return errors.Join(err, atomicfile.SyncFolder(to))
	}
	return fmt.Errorf("others delete it again and again")
}

func writeTitle(path, title string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(title)
	return errors.Join(err, f.Close())
}

// Write streams r to a new file and syncs it, and returns the sha256.
func Write(ctx context.Context, path string, r io.Reader, o scu.PutOptions) (sum string, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	t := o.Take(ctx, r)
	if _, err := io.Copy(f, t); err != nil {
		return "", err
	}
	return t.Sum(), f.Sync()
}

// Get implements scu.Blobs.
func (b *Blobs) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	var f *os.File
	var blob scu.Blob
	for tries := 0; f == nil; tries++ {
		var path string
		var err error
		if path, blob, err = b.lookup(key); err != nil {
			return nil, blob, err
		}
		f, err = os.Open(path)
		if err != nil && (tries == 10 || !errors.Is(err, fs.ErrNotExist)) { // else it was replaced meanwhile
			return nil, blob, Failed("read "+key.String(), err)
		}
	}
	r := struct {
		io.Reader
		io.Closer
	}{untilDone{ctx, f}, f}
	if from == 0 && (length < 0 || length >= blob.Size) {
		return blob.Verified(r), blob, nil
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		f.Close()
		return nil, blob, Failed("read "+key.String(), err)
	}
	if length >= 0 {
		r.Reader = io.LimitReader(r.Reader, length)
	}
	return r, blob, nil
}

// untilDone is a reader that stops with its context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}

// Stat implements scu.Blobs.
func (b *Blobs) Stat(ctx context.Context, key scu.BlobKey) (scu.Blob, error) {
	_, blob, err := b.lookup(key)
	return blob, err
}

// Path implements scu.LocalBlobs.
func (b *Blobs) Path(key scu.BlobKey) (string, error) {
	path, _, err := b.lookup(key)
	return path, err
}

// lookup finds the bytes of a blob. Of two files, of which a crash may have left the old
// one, the newer has them.
func (b *Blobs) lookup(key scu.BlobKey) (string, scu.Blob, error) {
	if err := b.check(key); err != nil {
		return "", scu.Blob{}, err
	}
	var bytes fs.FileInfo
	var err error
	for tries := 0; err == nil && bytes == nil && tries < 10; tries++ { // again if it was replaced meanwhile
		var entries []fs.DirEntry
		entries, err = os.ReadDir(b.place(key))
		for _, e := range entries {
			info, ierr := e.Info()
			if ierr == nil && e.Name() != titleFile && e.Type().IsRegular() && (bytes == nil || info.ModTime().After(bytes.ModTime())) {
				bytes = info
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes == nil {
		return "", scu.Blob{}, key.NotFound()
	}
	if err != nil {
		return "", scu.Blob{}, Failed("find "+key.String(), err)
	}
	blob := scu.Blob{Key: key, Title: bytes.Name(), Size: bytes.Size(), SHA256: bytes.Name(), StoredAt: bytes.ModTime().UTC()}
	if key.Kind == scu.FileBlob { // an older version called the bytes by their title
		blob.SHA256 = key.Name
	}
	if title, err := os.ReadFile(filepath.Join(b.place(key), titleFile)); err == nil {
		blob.Title = string(title)
	}
	return filepath.Join(b.place(key), bytes.Name()), blob, nil
}

// Retitle implements scu.Blobs. Who reads the bytes by their path goes on.
func (b *Blobs) Retitle(ctx context.Context, key scu.BlobKey, title string) (scu.Blob, error) {
	path, blob, err := b.lookup(key)
	if err != nil {
		return blob, err
	}
	dir, err := os.MkdirTemp(b.aside(key.Kind), "")
	if err != nil {
		return blob, Failed("store "+key.String(), err)
	}
	defer os.RemoveAll(dir)
	now := time.Now()
	err = os.Chtimes(path, now, now)
	if err == nil {
		err = writeTitle(filepath.Join(dir, titleFile), title)
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, titleFile), filepath.Join(b.place(key), titleFile))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return blob, key.NotFound() // it was deleted meanwhile
	}
	if err != nil {
		return blob, Failed("store "+key.String(), err)
	}
	return b.Stat(ctx, key)
}

// List implements scu.Blobs.
func (b *Blobs) List(ctx context.Context, kind scu.BlobKind, prefix, after string, limit int) (page []scu.Blob, more bool, err error) {
	if b.roots[kind] == "" {
		return nil, false, nil
	}
	shelves, err := os.ReadDir(b.roots[kind])
	if err != nil {
		return nil, false, Failed("list the "+string(kind), err)
	}
	for _, shelf := range shelves { // sorted, as are the names below
		s := shelf.Name()
		n := min(len(s), len(prefix))
		if !shelf.IsDir() || len(s) > 2 || s[:n] != prefix[:n] || s < after[:min(len(after), len(s))] {
			continue
		}
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
		names, err := os.ReadDir(filepath.Join(b.roots[kind], s))
		if err != nil {
			return nil, false, Failed("list the "+string(kind), err)
		}
		for _, e := range names {
			key := scu.BlobKey{Kind: kind, Name: e.Name()}
			if key.Name <= after || !strings.HasPrefix(key.Name, prefix) || key.Check() != nil {
				continue
			}
			blob, err := b.Stat(ctx, key)
			if scu.CodeOf(err) == scu.CodeNotFound {
				continue // it went meanwhile
			}
			if err != nil {
				return nil, false, err
			}
			if len(page) == limit {
				return page, true, nil
			}
			page = append(page, blob)
		}
	}
	return page, false, nil
}

// Delete implements scu.Blobs. The blob is gone with one rename.
func (b *Blobs) Delete(ctx context.Context, key scu.BlobKey) error {
	if err := b.check(key); err != nil {
		return err
	}
	aside, err := os.MkdirTemp(b.aside(key.Kind), "")
	if err != nil {
		return Failed("delete "+key.String(), err)
	}
	defer os.RemoveAll(aside)
	if err := os.Rename(b.place(key), filepath.Join(aside, key.Name)); errors.Is(err, fs.ErrNotExist) {
		return key.NotFound()
	} else if err != nil {
		return Failed("delete "+key.String(), err)
	}
	return nil
}

// Sweep implements scu.Blobs.
func (b *Blobs) Sweep(ctx context.Context, before time.Time) (err error) {
	for kind := range b.roots {
		err = errors.Join(err, SweepFolder(b.aside(kind), before))
	}
	return err
}

// SweepFolder removes what was last changed in a folder before a time.
func SweepFolder(path string, before time.Time) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return Failed("sweep the storage", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
			os.RemoveAll(filepath.Join(path, e.Name()))
		}
	}
	return nil
}

// Failed puts an error of the system into the service's words. What carries a code
// already, or was cancelled, keeps it.
func Failed(what string, err error) error {
	var e *scu.Error
	full := []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}
	switch {
	case errors.As(err, &e), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case slices.ContainsFunc(full, func(no error) bool { return errors.Is(err, no) }):
		return &scu.Error{Code: scu.CodeStorage, Message: what + ": no space left on the server's disk", // err names a path, which is nobody's business
			Hint: "free disk space there, and try again", Retry: true, Err: err}
	}
	return scu.Errorf(scu.CodeInternal, "%s: %w", what, err)
}
