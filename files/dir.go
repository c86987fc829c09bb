// Package files keeps immutable files in a folder, under the sha256 of their
// bytes: scu.FileIntake for roles that run on one machine or share one mount.
//
// It promises:
//
//   - A file is there whole or not at all: it is written aside, synced, and moved
//     to its place by one rename. After an error nothing is left.
//   - The limit is enforced while the bytes stream; memory doesn't grow with them.
//   - No name that a user chose decides where anything is written.
//
// A file lies in <folder>/<first two digits of the id>/<id>/<name>: the name keeps
// its ending, and the rename of the inner folder commits name and bytes together. If the
// same bytes come again under another name, that is written beside them: whoever reads
// the file by its path goes on.
package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/shannon-control/scu"
)

// staleAfter is the age at which what a dead process left aside is removed.
const staleAfter = 24 * time.Hour

// Dir is a folder of files. Several processes may use one folder.
type Dir struct {
	root string

	mu       sync.Mutex
	verified map[string]fingerprint // files whose hash this process knows to be right
	staged   map[string]*stagedFile
}

var _ scu.FileIntake = (*Dir)(nil)

// fingerprint tells whether a file was touched since it was verified.
type fingerprint struct {
	size    int64
	modTime time.Time
}

// stagedFile is a file that is written and not yet kept; refs counts the staged
// that share it.
type stagedFile struct {
	dir, path string
	refs      int
}

// Open creates the folder if missing and removes what processes that died
// long ago left half-written in it.
func Open(folder string) (*Dir, error) {
	root, err := filepath.Abs(folder)
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	d := &Dir{root: root, verified: map[string]fingerprint{}, staged: map[string]*stagedFile{}}
	if err := os.MkdirAll(d.aside(), 0o700); err != nil {
		return nil, failed("open the file storage", err)
	}
	entries, err := os.ReadDir(d.aside())
	if err != nil {
		return nil, failed("open the file storage", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
			os.RemoveAll(filepath.Join(d.aside(), e.Name()))
		}
	}
	return d, nil
}

func (d *Dir) aside() string          { return filepath.Join(d.root, "aside") }
func (d *Dir) place(id string) string { return filepath.Join(d.root, id[:2], id) }

// Put implements scu.FileIntake. The File carries name as it was given here (made
// safe), even where the bytes were stored under another name before.
func (d *Dir) Put(ctx context.Context, name string, r io.Reader, limit int64) (scu.File, error) {
	s, err := d.stage(ctx, name, r, limit)
	if err != nil {
		return scu.File{}, err
	}
	defer s.Drop()
	return s.file, s.Keep(ctx)
}

// staged is a [scu.StagedFile]. Drop ends it, kept or not.
type staged struct {
	file scu.File
	d    *Dir
	f    *stagedFile
	once sync.Once
	keep func(context.Context) error
}

// File describes the file.
func (s *staged) File() scu.File { return s.file }

// Keep makes the file last. Keeping it twice is the same as once.
func (s *staged) Keep(ctx context.Context) error { return s.keep(ctx) }

// Stage is Put in two steps, for bytes that have to be looked at before it is
// known whether they stay.
func (d *Dir) Stage(ctx context.Context, name string, r io.Reader, limit int64) (scu.StagedFile, error) {
	s, err := d.stage(ctx, name, r, limit)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *Dir) stage(ctx context.Context, name string, r io.Reader, limit int64) (*staged, error) {
	name = scu.SafeFileName(name)
	dir, err := os.MkdirTemp(d.aside(), "")
	if err != nil {
		return nil, failed("store "+name, err)
	}
	f := &stagedFile{dir: dir, path: filepath.Join(dir, name), refs: 1}
	id, size, err := write(ctx, f.path, r, limit)
	if err != nil {
		os.RemoveAll(dir)
		return nil, failed("store "+name, err)
	}
	info, err := os.Stat(f.path)
	if err == nil {
		err = d.dropDamaged(ctx, id)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, failed("store "+name, err)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	if same := d.staged[id]; same != nil {
		os.RemoveAll(dir)
		f = same
		f.refs++
	} else {
		d.staged[id] = f
		d.verified[id] = fingerprint{size, info.ModTime()}
	}
	s := &staged{file: scu.File{ID: id, Name: name, Size: size, CreatedAt: info.ModTime().UTC()}, d: d, f: f}
	s.keep = s.place
	return s, nil
}

// errDamaged is the cause of an error about a kept file with other bytes than it was
// stored with.
var errDamaged = errors.New("the stored file is damaged")

// dropDamaged makes room for a file whose kept bytes are no longer its own.
func (d *Dir) dropDamaged(ctx context.Context, id string) error {
	if _, err := d.find(id); err != nil {
		return nil // there is none
	}
	if _, err := d.Local(ctx, id); !errors.Is(err, errDamaged) {
		return nil // whoever reads it is told
	}
	if err := d.Delete(ctx, id); scu.CodeOf(err) != scu.CodeNotFound {
		return err
	}
	return nil
}

// place gives the file its place, under a second name: the first is good for who
// reads it until the last Drop. Where the same bytes are kept already, they stay
// as they are.
func (s *staged) place(ctx context.Context) (err error) {
	d, id, name := s.d, s.file.ID, filepath.Base(s.f.path)
	defer func() {
		if err != nil {
			err = failed("store "+name, err)
		}
	}()
	if path, err := d.find(id); err == nil {
		return d.rename(path, s.file.Name)
	}
	name = s.file.Name
	dir, err := os.MkdirTemp(d.aside(), "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)                                 // gone already if it became the place
	if os.Link(s.f.path, filepath.Join(dir, name)) != nil { // a file system without links
		f, err := os.Open(s.f.path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, _, err := write(ctx, filepath.Join(dir, name), f, s.file.Size); err != nil {
			return err
		}
	}
	to := d.place(id)
	if err := errors.Join(syncFolder(dir), os.MkdirAll(filepath.Dir(to), 0o700)); err != nil {
		return err
	}
	if err := os.Rename(dir, to); err != nil {
		// A folder isn't renamed onto one that holds a file: a rival's, then.
		if path, there := d.find(id); there == nil {
			return d.rename(path, name)
		}
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// Drop ends s. What nobody kept is removed with its last staged. After Keep it
// only tidies up; calling it twice does nothing.
func (s *staged) Drop() {
	s.once.Do(func() {
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		if s.f.refs--; s.f.refs == 0 {
			delete(s.d.staged, s.file.ID)
			os.RemoveAll(s.f.dir)
		}
	})
}

// write streams r to path and syncs it. It returns the sha256 and the size.
func write(ctx context.Context, path string, r io.Reader, limit int64) (id string, size int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	h := sha256.New()
	most := limit
	if most < math.MaxInt64 {
		most++ // one more byte tells a full file from one that is too long
	}
	size, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(untilDone{ctx, r}, most))
	if err != nil {
		return "", 0, err
	}
	if size > limit {
		return "", 0, scu.Errorf(scu.CodeTooLarge, "more than the %d bytes allowed", limit).WithHint("split the file, or ask for a higher limit")
	}
	return hex.EncodeToString(h.Sum(nil)), size, f.Sync()
}

// untilDone is a reader that stops with its context.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// syncFolder makes a rename in the folder last through a power cut.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

// Stat implements scu.FileIntake.
func (d *Dir) Stat(ctx context.Context, id string) (scu.File, error) {
	path, info, err := d.lookup(id)
	if err != nil {
		return scu.File{}, err
	}
	return scu.File{ID: id, Name: nameOf(path), Size: info.Size(), CreatedAt: info.ModTime().UTC()}, nil
}

// List implements scu.FileStore.
func (d *Dir) List(ctx context.Context, after string, limit int) (page []scu.File, more bool, err error) {
	if after != "" && !scu.ValidFileID(after) {
		return nil, false, noID(after)
	}
	shelves, err := os.ReadDir(d.root)
	if err != nil {
		return nil, false, failed("list the files", err)
	}
	for _, shelf := range shelves { // sorted, as are the ids below
		if len(shelf.Name()) != 2 || after != "" && shelf.Name() < after[:2] {
			continue
		}
		if ctx.Err() != nil {
			return nil, false, ctx.Err()
		}
		ids, err := os.ReadDir(filepath.Join(d.root, shelf.Name()))
		if err != nil {
			return nil, false, failed("list the files", err)
		}
		for _, id := range ids {
			if !scu.ValidFileID(id.Name()) || id.Name() <= after {
				continue
			}
			f, err := d.Stat(ctx, id.Name())
			if scu.CodeOf(err) == scu.CodeNotFound {
				continue // it went meanwhile
			}
			if err != nil {
				return nil, false, err
			}
			if len(page) == limit {
				return page, true, nil
			}
			page = append(page, f)
		}
	}
	return page, false, nil
}

// Delete implements scu.FileStore. The file is gone with one rename.
func (d *Dir) Delete(ctx context.Context, id string) error {
	if !scu.ValidFileID(id) {
		return noID(id)
	}
	aside, err := os.MkdirTemp(d.aside(), "")
	if err != nil {
		return failed("delete file "+id, err)
	}
	defer os.RemoveAll(aside)
	if err := os.Rename(d.place(id), filepath.Join(aside, id)); errors.Is(err, fs.ErrNotExist) {
		return noFile(id)
	} else if err != nil {
		return failed("delete file "+id, err)
	}
	d.mu.Lock()
	delete(d.verified, id)
	d.mu.Unlock()
	return nil
}

// newerName is the file, beside the bytes, of the name under which they came last. No
// user's file is called so: a safe name has no dot at its start.
const newerName = ".name"

// nameOf is the name of the file whose bytes lie at path.
func nameOf(path string) string {
	if b, err := os.ReadFile(filepath.Join(filepath.Dir(path), newerName)); err == nil {
		return scu.SafeFileName(string(b))
	}
	return filepath.Base(path)
}

// rename notes another name of the file whose bytes lie at path.
func (d *Dir) rename(path, name string) error {
	if nameOf(path) == name {
		return nil
	}
	f, err := os.CreateTemp(d.aside(), "")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already once it is in its place
	_, err = f.WriteString(name)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(filepath.Dir(path), newerName))
}

// Local implements scu.FileIntake. The bytes are hashed once a process, and again
// where the file's size or time changed.
func (d *Dir) Local(ctx context.Context, id string) (string, error) {
	path, info, err := d.lookup(id)
	if err != nil {
		return "", err
	}
	now := fingerprint{info.Size(), info.ModTime()}
	d.mu.Lock()
	known, ok := d.verified[id]
	d.mu.Unlock()
	if ok && known == now {
		return path, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", failed("read file "+id, err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, untilDone{ctx, f}); err != nil {
		return "", failed("read file "+id, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != id {
		return "", scu.Errorf(scu.CodeInternal, "file %s: %w: its bytes hash to %s", id, errDamaged, got).WithHint("upload the same file again: it takes the place of the damaged one")
	}
	d.mu.Lock()
	d.verified[id] = now
	d.mu.Unlock()
	return path, nil
}

// lookup finds a kept file, or else a staged one.
func (d *Dir) lookup(id string) (string, fs.FileInfo, error) {
	if !scu.ValidFileID(id) {
		return "", nil, noID(id)
	}
	path, err := d.find(id)
	if errors.Is(err, fs.ErrNotExist) {
		d.mu.Lock()
		if f := d.staged[id]; f != nil {
			path, err = f.path, nil
		}
		d.mu.Unlock()
	}
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, noFile(id)
	}
	if err != nil {
		return "", nil, failed("find file "+id, err)
	}
	return path, info, nil
}

// find returns the path of a kept file, or fs.ErrNotExist.
func (d *Dir) find(id string) (string, error) {
	entries, err := os.ReadDir(d.place(id))
	if err != nil {
		return "", err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return e.Name() == newerName })
	if len(entries) != 1 || !entries[0].Type().IsRegular() {
		return "", fmt.Errorf("%s: %w", d.place(id), fs.ErrNotExist)
	}
	return filepath.Join(d.place(id), entries[0].Name()), nil
}

func noID(id string) error {
	return scu.Errorf(scu.CodeInvalid, "%.80q is no file id", id).WithHint("a file id is the 64 hex digits that an upload answers with")
}

func noFile(id string) error {
	return scu.Errorf(scu.CodeNotFound, "no file %s", id).WithHint("upload it first")
}

// failed puts an error of the system into the service's words. What carries a
// code already, or was cancelled, keeps it.
func failed(what string, err error) error {
	var e *scu.Error
	switch {
	case errors.As(err, &e), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return &scu.Error{Code: scu.CodeStorage, Message: what + ": no space left on the server's disk", // err names a path, which is nobody's business
			Hint: "free disk space there, and try again", Retry: true, Err: err}
	}
	return scu.Errorf(scu.CodeInternal, "%s: %w", what, err)
}
