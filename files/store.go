// Package files keeps immutable files under the sha256 of their bytes, over any
// scu.Blobs: scu.FileIntake.
//
// It promises:
//
//   - A file is there whole or not at all. After an error nothing is left.
//   - The limit is enforced while the bytes stream; memory doesn't grow with them.
//   - Bytes are verified before they are used. Damaged ones are told of, and the same
//     bytes, come again, take their place.
//   - No name that a user chose decides where anything is written.
package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
	"github.com/shannon-control/scu/blobs/folder"
)

// staleAfter is the age at which what a dead process left aside is removed.
const staleAfter = 24 * time.Hour

// Store is a store of files. Several processes may use one folder.
type Store struct {
	blobs scu.Blobs
	local scu.LocalBlobs // blobs, if its bytes are files here; else nil
	dir   string         // of what is staged, and of copies of what isn't here

	mu       sync.Mutex
	verified map[string]fingerprint // by path: files whose hash this process knows to be right
	staged   map[string]*stagedFile // by id
}

var _ scu.FileIntake = (*Store)(nil)

// fingerprint tells whether a file was touched since it was verified.
type fingerprint struct {
	size    int64
	modTime time.Time
}

// Open opens a store in one folder, which is created.
func Open(path string) (*Store, error) {
	blobs, err := folder.OpenKinds(map[scu.BlobKind]string{scu.FileBlob: path})
	if err != nil {
		return nil, err
	}
	if err := blobs.Sweep(context.Background(), time.Now().Add(-staleAfter)); err != nil {
		return nil, err
	}
	return New(blobs, filepath.Join(path, "aside"))
}

// New opens a store over blobs, with a folder, which is created, for what is staged and
// for copies of what isn't on this machine. What processes that died long ago left
// half-written there is removed.
func New(blobs scu.Blobs, dir string) (*Store, error) {
	s := &Store{blobs: blobs, dir: dir, verified: map[string]fingerprint{}, staged: map[string]*stagedFile{}}
	s.local, _ = blobs.(scu.LocalBlobs)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, folder.Failed("open the file storage", err)
	}
	if err := atomicfile.Sweep(dir, time.Now().Add(-staleAfter)); err != nil {
		return nil, folder.Failed("open the file storage", err)
	}
	return s, nil
}

// Blobs are where the files are kept.
func (s *Store) Blobs() scu.Blobs { return s.blobs }

// Put implements scu.FileStore.
func (s *Store) Put(ctx context.Context, name string, r io.Reader, limit int64) (scu.File, error) {
	st, err := s.stage(ctx, name, r, limit)
	if err != nil {
		return scu.File{}, err
	}
	defer st.Drop()
	return st.file, st.Keep(ctx)
}

// Stat implements scu.FileStore, of what is staged too.
func (s *Store) Stat(ctx context.Context, id string) (scu.File, error) {
	if !scu.ValidFileID(id) {
		return scu.File{}, noID(id)
	}
	b, err := s.blobs.Stat(ctx, blob(id))
	if scu.CodeOf(err) != scu.CodeNotFound {
		return toFile(b), err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.staged[id]; f != nil {
		return f.file, nil
	}
	return scu.File{}, noFile(id)
}

// List implements scu.FileStore.
func (s *Store) List(ctx context.Context, after string, limit int) (page []scu.File, more bool, err error) {
	if after != "" && !scu.ValidFileID(after) {
		return nil, false, noID(after)
	}
	all, more, err := s.blobs.List(ctx, scu.FileBlob, "", after, limit)
	for _, b := range all {
		if scu.ValidFileID(b.Key.Name) {
			page = append(page, toFile(b))
		}
	}
	return page, more, err
}

// Delete implements scu.FileStore. Copies on other machines stay until their folder is
// cleared.
func (s *Store) Delete(ctx context.Context, id string) error {
	if !scu.ValidFileID(id) {
		return noID(id)
	}
	if err := s.blobs.Delete(ctx, blob(id)); scu.CodeOf(err) == scu.CodeNotFound {
		return noFile(id)
	} else if err != nil {
		return err
	}
	if s.local == nil {
		os.Remove(s.copy(id))
	}
	return nil
}

// copy is where the copy of a file is that isn't on this machine.
func (s *Store) copy(id string) string { return filepath.Join(s.dir, id) }

// Local implements scu.FileStore, of what is staged too. The bytes are hashed once a
// process, and again where the file's size or time changed.
func (s *Store) Local(ctx context.Context, id string) (string, error) {
	if !scu.ValidFileID(id) {
		return "", noID(id)
	}
	path, err := s.copy(id), error(nil)
	if s.local != nil {
		path, err = s.local.Path(blob(id))
	}
	if err == nil {
		err = s.verify(ctx, path, id)
	}
	switch code := scu.CodeOf(err); {
	case err == nil:
		return path, nil
	case code != scu.CodeNotFound && code != scu.CodeDamaged:
		return "", err
	}
	s.mu.Lock()
	f := s.staged[id]
	s.mu.Unlock()
	switch {
	case f != nil:
		return f.path, nil
	case s.local == nil:
		return path, s.fetch(ctx, id)
	case scu.CodeOf(err) == scu.CodeNotFound:
		return "", noFile(id)
	}
	return "", err
}

// verify refuses a file with other bytes than its id says.
func (s *Store) verify(ctx context.Context, path, id string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return noFile(id)
	}
	if err != nil {
		return folder.Failed("read file "+id, err)
	}
	now := fingerprint{info.Size(), info.ModTime()}
	s.mu.Lock()
	known, ok := s.verified[path]
	s.mu.Unlock()
	if ok && known == now {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return folder.Failed("read file "+id, err)
	}
	defer f.Close()
	t := scu.PutOptions{}.Take(ctx, f)
	if _, err := io.Copy(io.Discard, t); err != nil {
		return folder.Failed("read file "+id, err)
	}
	if got := t.Sum(); got != id {
		return damaged(id, got)
	}
	s.mu.Lock()
	s.verified[path] = now
	s.mu.Unlock()
	return nil
}

// fetch makes a copy of a file that isn't on this machine.
func (s *Store) fetch(ctx context.Context, id string) error {
	r, b, err := s.blobs.Get(ctx, blob(id), 0, -1)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return noFile(id)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	err = atomicfile.Write(s.copy(id), 0o400, func(w io.Writer) error {
		t := scu.PutOptions{Limit: max(1, b.Size)}.Take(ctx, r)
		_, err := io.Copy(w, t)
		if got := t.Sum(); err == nil && got != id {
			err = damaged(id, got)
		}
		return err
	})
	if err != nil {
		return folder.Failed("fetch file "+id, err)
	}
	s.known(s.copy(id))
	return nil
}

// known notes a file as verified.
func (s *Store) known(path string) {
	if info, err := os.Stat(path); err == nil {
		s.mu.Lock()
		s.verified[path] = fingerprint{info.Size(), info.ModTime()}
		s.mu.Unlock()
	}
}

// write writes a file aside.
func (s *Store) write(ctx context.Context, r io.Reader, o scu.PutOptions) (path, sum string, err error) {
	path = filepath.Join(s.dir, atomicfile.Partial+scu.NewJobID())
	if sum, err = folder.Write(ctx, path, r, o); err != nil {
		os.Remove(path)
		return "", "", folder.Failed("receive the file", err)
	}
	return path, sum, nil
}

func blob(id string) scu.BlobKey { return scu.BlobKey{Kind: scu.FileBlob, Name: id} }

func toFile(b scu.Blob) scu.File {
	return scu.File{ID: b.Key.Name, Name: scu.SafeFileName(b.Title), Size: b.Size, CreatedAt: b.StoredAt}
}

func damaged(id, got string) error {
	return scu.Errorf(scu.CodeDamaged, "file %s is damaged in the store: its bytes have sha256 %s", id, got).
		WithHint("upload the same file again: it takes the place of the damaged one")
}

func noID(id string) error {
	return scu.Errorf(scu.CodeInvalid, "%.80q is no file id", id).WithHint("a file id is the 64 hex digits that an upload answers with")
}

func noFile(id string) error {
	return scu.Errorf(scu.CodeNotFound, "no file %s", id).WithHint("upload it first")
}
