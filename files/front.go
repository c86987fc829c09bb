package files

import (
	"context"
	"io"
	"os"

	"github.com/shannon-control/scu"
)

// Front puts a folder before another store, one that is reached over the network:
// what is staged lies in the folder, and goes to the store when it is kept. So
// what is dropped never travels.
type Front struct {
	scu.FileStore
	dir *Dir
}

// NewFront stages in dir what is kept in store.
func NewFront(dir *Dir, store scu.FileStore) *Front { return &Front{store, dir} }

// Stage is Put in two steps; see Dir.Stage.
func (f *Front) Stage(ctx context.Context, name string, r io.Reader, limit int64) (scu.StagedFile, error) {
	s, err := f.dir.stage(ctx, name, r, limit)
	if err != nil {
		return nil, err
	}
	s.keep = func(ctx context.Context) error { return f.send(ctx, s.file) }
	return s, nil
}

func (f *Front) send(ctx context.Context, file scu.File) error {
	path, err := f.dir.Local(ctx, file.ID)
	if err != nil {
		return err
	}
	r, err := os.Open(path)
	if err != nil {
		return failed("store "+file.Name, err)
	}
	defer r.Close()
	_, err = f.FileStore.Put(ctx, file.Name, r, file.Size)
	return err
}

// Stat implements scu.FileStore, of what is staged too.
func (f *Front) Stat(ctx context.Context, id string) (scu.File, error) {
	if file, err := f.dir.Stat(ctx, id); err == nil {
		return file, nil
	}
	return f.FileStore.Stat(ctx, id)
}

// Local implements scu.FileStore, of what is staged too.
func (f *Front) Local(ctx context.Context, id string) (string, error) {
	if _, err := f.dir.Stat(ctx, id); err == nil {
		return f.dir.Local(ctx, id)
	}
	return f.FileStore.Local(ctx, id)
}
