package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// objectFiles is a [scu.FileStore] over the object store, with a folder of local copies
// under their sha256. Several processes may share the folder.
type objectFiles struct {
	b     *Broker
	store jetstream.ObjectStore
	dir   string

	mu      sync.Mutex
	checked map[string]bool // copies whose bytes this process has seen to be right
}

// partial begins the names of files that are being written.
const partial = "partial-"

// Files opens the file store with dir for local copies, which is created.
func (b *Broker) Files(ctx context.Context, dir string) (scu.FileStore, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fileFault(err, "file cache")
	}
	ctx, cancel := b.bound(ctx)
	defer cancel()
	store, err := b.objs.ObjectStore(ctx, filesBucket)
	if err != nil {
		return nil, fault(err, "file store")
	}
	f := &objectFiles{b: b, store: store, dir: dir, checked: map[string]bool{}}
	return f, f.sweep(time.Now().Add(-transferTimeout))
}

// sweep removes what a killed process left half-written.
func (f *objectFiles) sweep(before time.Time) error {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fileFault(err, "file cache")
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), partial) && info.ModTime().Before(before) {
			os.Remove(filepath.Join(f.dir, e.Name()))
		}
	}
	return nil
}

// Put implements scu.FileStore.
func (f *objectFiles) Put(ctx context.Context, name string, r io.Reader, limit int64) (scu.File, error) {
	spool, err := f.spool(fullReader{ctx, r}, limit)
	if err != nil {
		return scu.File{}, err
	}
	defer spool.discard()
	stored, err := f.Stat(ctx, spool.id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		stored, err = f.upload(ctx, name, spool)
	} else if err == nil && stored.Name != name {
		stored.Name, err = name, f.rename(ctx, spool.id, name)
	}
	if err != nil {
		return scu.File{}, err
	}
	return stored, f.keep(spool)
}

func (f *objectFiles) upload(ctx context.Context, name string, s *spool) (scu.File, error) {
	r, err := os.Open(s.path)
	if err != nil {
		return scu.File{}, fileFault(err, "file cache")
	}
	defer r.Close()
	h := sha256.New()
	info, err := putObject(ctx, f.store, s.id, name, io.TeeReader(r, h))
	if err != nil {
		return scu.File{}, fault(err, "store file %q", name)
	}
	if hex.EncodeToString(h.Sum(nil)) != s.id {
		f.store.Delete(ctx, s.id)
		return scu.File{}, scu.Errorf(scu.CodeInternal, "file %q changed in the cache folder while it was stored", name)
	}
	return toFile(info), nil
}

// rename gives a stored file another name.
func (f *objectFiles) rename(ctx context.Context, id, name string) error {
	ctx, cancel := f.b.bound(ctx)
	defer cancel()
	return fault(f.store.UpdateMeta(ctx, id, jetstream.ObjectMeta{Name: id, Description: name}), "store file %q", name)
}

// List implements scu.FileStore.
func (f *objectFiles) List(ctx context.Context, after string, limit int) (page []scu.File, more bool, err error) {
	if after != "" && !scu.ValidFileID(after) {
		return nil, false, noFile(after)
	}
	ctx, cancel := context.WithTimeout(ctx, stallTimeout) // many objects are a long list
	defer cancel()
	all, err := f.store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, false, fault(err, "list the files")
	}
	slices.SortFunc(all, func(a, b *jetstream.ObjectInfo) int { return strings.Compare(a.Name, b.Name) })
	for _, o := range all {
		if o.Name <= after || !scu.ValidFileID(o.Name) {
			continue
		}
		if len(page) == limit {
			return page, true, nil
		}
		page = append(page, toFile(o))
	}
	return page, false, nil
}

// Delete implements scu.FileStore. Copies of other processes stay until their folder is
// cleared.
func (f *objectFiles) Delete(ctx context.Context, id string) error {
	if _, err := f.Stat(ctx, id); err != nil {
		return err
	}
	ctx, cancel := f.b.bound(ctx)
	defer cancel()
	if err := f.store.Delete(ctx, id); err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) {
		return fault(err, "delete file %s", id)
	}
	f.mu.Lock()
	delete(f.checked, id)
	f.mu.Unlock()
	if err := os.Remove(filepath.Join(f.dir, id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fileFault(err, "file cache")
	}
	return nil
}

// Stat implements scu.FileStore.
func (f *objectFiles) Stat(ctx context.Context, id string) (scu.File, error) {
	if !scu.ValidFileID(id) {
		return scu.File{}, noFile(id)
	}
	ctx, cancel := f.b.bound(ctx)
	defer cancel()
	info, err := f.store.GetInfo(ctx, id)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return scu.File{}, noFile(id)
	}
	if err != nil {
		return scu.File{}, fault(err, "file %s", id)
	}
	return toFile(info), nil
}

// Local implements scu.FileStore. A copy that is there is read through once in a
// process's life, and fetched anew if it was damaged.
func (f *objectFiles) Local(ctx context.Context, id string) (string, error) {
	if !scu.ValidFileID(id) {
		return "", noFile(id)
	}
	path := filepath.Join(f.dir, id)
	if ok, err := f.check(path, id); ok || err != nil {
		return path, err
	}
	s, err := f.download(ctx, id)
	if err != nil {
		return "", err
	}
	defer s.discard()
	return path, f.keep(s)
}

// check reports whether path holds the bytes of id.
func (f *objectFiles) check(path, id string) (bool, error) {
	r, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fileFault(err, "file cache")
	}
	defer r.Close()
	f.mu.Lock()
	ok := f.checked[id]
	f.mu.Unlock()
	if ok {
		return true, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return false, fileFault(err, "file cache")
	}
	if hex.EncodeToString(h.Sum(nil)) != id {
		return false, nil
	}
	f.mu.Lock()
	f.checked[id] = true
	f.mu.Unlock()
	return true, nil
}

func (f *objectFiles) download(ctx context.Context, id string) (*spool, error) {
	r, info, err := f.b.getObject(ctx, f.store, id)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, noFile(id)
	}
	if err != nil {
		return nil, fault(err, "fetch file %s", id)
	}
	defer r.Close()
	s, err := f.spool(r, int64(info.Size))
	if err != nil {
		return nil, err
	}
	if s.id != id {
		s.discard()
		return nil, scu.Errorf(scu.CodeInternal, "file %s is damaged in the store: its bytes have sha256 %s", id, s.id).
			WithHint("upload the file again")
	}
	return s, nil
}

// spool is a file of the cache folder that has no name of its own yet.
type spool struct {
	path string
	id   string // sha256 of its bytes, hex
}

// spool writes what r gives into the cache folder, at most limit bytes.
func (f *objectFiles) spool(r io.Reader, limit int64) (*spool, error) {
	w, err := os.CreateTemp(f.dir, partial)
	if err != nil {
		return nil, fileFault(err, "file cache")
	}
	s := &spool{path: w.Name()}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(r, limit+1))
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err == nil && n > limit {
		err = scu.Errorf(scu.CodeTooLarge, "the file has more than %d bytes", limit)
	}
	if err != nil {
		s.discard()
		return nil, fileFault(err, "receive file")
	}
	s.id = hex.EncodeToString(h.Sum(nil))
	return s, nil
}

func (s *spool) discard() { os.Remove(s.path) }

// keep gives a spooled file its name in the cache.
func (f *objectFiles) keep(s *spool) error {
	if err := os.Chmod(s.path, 0o400); err != nil {
		return fileFault(err, "file cache")
	}
	if err := os.Rename(s.path, filepath.Join(f.dir, s.id)); err != nil {
		return fileFault(err, "file cache")
	}
	f.mu.Lock()
	f.checked[s.id] = true
	f.mu.Unlock()
	return nil
}

func toFile(o *jetstream.ObjectInfo) scu.File {
	return scu.File{ID: o.Name, Name: o.Description, Size: int64(o.Size), CreatedAt: o.ModTime.UTC()}
}

func noFile(id string) error {
	return scu.Errorf(scu.CodeNotFound, "no file %.64q", id)
}
