package files

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/folder"
)

// stagedFile is a file that is written and not yet kept; refs counts the staged that
// share it.
type stagedFile struct {
	file scu.File
	path string
	refs int
}

// staged is a [scu.StagedFile]. Drop ends it, kept or not.
type staged struct {
	file scu.File
	s    *Store
	f    *stagedFile
	once sync.Once
}

// Stage is Put in two steps, for bytes that have to be looked at before it is known
// whether they stay. They lie on this machine until then, so what is dropped never travels.
func (s *Store) Stage(ctx context.Context, name string, r io.Reader, limit int64) (scu.StagedFile, error) {
	st, err := s.stage(ctx, name, r, limit)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (s *Store) stage(ctx context.Context, name string, r io.Reader, limit int64) (*staged, error) {
	path, id, err := s.write(ctx, r, scu.PutOptions{Limit: limit})
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, folder.Failed("receive the file", err)
	}
	file := scu.File{ID: id, Name: scu.SafeFileName(name), Size: info.Size(), CreatedAt: time.Now().UTC()}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.staged[id]
	if f == nil {
		f = &stagedFile{file: file, path: path}
		s.staged[id] = f
	} else {
		os.Remove(path)
	}
	f.refs++
	return &staged{file: file, s: s, f: f}, nil
}

// File describes the file, by the name that it came with.
func (st *staged) File() scu.File { return st.file }

// Keep makes the file last. Keeping it twice is the same as once. Where the same bytes are
// kept already they stay as they are, unless they are damaged.
func (st *staged) Keep(ctx context.Context) error {
	key, blobs := blob(st.file.ID), st.s.blobs
	_, err := scu.VerifyBlob(ctx, blobs, key)
	if err == nil {
		if _, err = blobs.Retitle(ctx, key, st.file.Name); scu.CodeOf(err) != scu.CodeNotFound {
			return err
		}
	}
	switch scu.CodeOf(err) {
	case scu.CodeNotFound, scu.CodeDamaged:
		return st.put(ctx)
	}
	return err
}

func (st *staged) put(ctx context.Context) error {
	key := blob(st.file.ID)
	if st.s.local != nil {
		if _, err := st.s.local.Adopt(ctx, key, st.f.path, st.file.ID, st.file.Name); err != nil {
			return err
		}
		if path, err := st.s.local.Path(key); err == nil {
			st.s.known(path)
		}
		return nil
	}
	r, err := os.Open(st.f.path)
	if err != nil {
		return folder.Failed("store "+st.file.Name, err)
	}
	defer r.Close()
	if _, err = st.s.blobs.Put(ctx, key, r, scu.PutOptions{Title: st.file.Name, SHA256: st.file.ID}); err != nil {
		return err
	}
	if path := st.s.copy(st.file.ID); os.Link(st.f.path, path) == nil { // else it is fetched when it is read
		st.s.known(path)
	}
	return nil
}

// Drop ends the staging. What nobody kept is removed with its last one. After Keep it
// only tidies up; calling it twice does nothing.
func (st *staged) Drop() {
	st.once.Do(func() {
		st.s.mu.Lock()
		defer st.s.mu.Unlock()
		if st.f.refs--; st.f.refs == 0 {
			delete(st.s.staged, st.file.ID)
			os.Remove(st.f.path)
		}
	})
}
