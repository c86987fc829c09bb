package scu

import (
	"context"
	"io"
)

// FileStore keeps immutable files under the sha256 of their bytes: uploads and data
// sets. A folder (package files) serves roles on one machine or one mount; the
// broker's object store serves roles that share nothing else.
type FileStore interface {
	LocalFiles
	// Put stores what r gives, under name for people. The same bytes twice are one file,
	// which is called as it came last; the File has the name of now. More than limit bytes is CodeTooLarge. After any error nothing is kept.
	Put(ctx context.Context, name string, r io.Reader, limit int64) (File, error)
	// Stat describes a stored file; CodeNotFound if there is none.
	Stat(ctx context.Context, id string) (File, error)
	// List returns a page of the stored files in the order of their ids, those after an
	// id (empty: from the first), and whether there are more.
	List(ctx context.Context, after string, limit int) (page []File, more bool, err error)
	// Delete removes a stored file; CodeNotFound if there is none. Who reads its local
	// copy may be broken off, so the caller sees that nobody needs it.
	Delete(ctx context.Context, id string) error
}

// LocalFiles gives stored files to those that only read them.
type LocalFiles interface {
	// Local returns the path of a readable local copy, checked against id. The
	// caller doesn't change or remove it.
	Local(ctx context.Context, id string) (path string, err error)
}

// FileIntake is the FileStore of the role that takes files in: it can put them in two
// steps, so that data that is refused in the end leaves nothing behind.
type FileIntake interface {
	FileStore
	// Stage takes in what r gives as Put does, but keeps it only when told to.
	Stage(ctx context.Context, name string, r io.Reader, limit int64) (StagedFile, error)
}

// StagedFile is complete and readable through Stat and Local, but not kept yet.
type StagedFile interface {
	File() File
	// Keep stores the file for good.
	Keep(ctx context.Context) error
	// Drop ends the staging. After Keep the file stays.
	Drop()
}
