package scu

import (
	"context"
	"io"
)

// Files keeps immutable files under the sha256 of their bytes: uploads and data
// sets. A folder (package files) serves roles on one machine or one mount; the
// broker's object store serves roles that share nothing else.
type Files interface {
	// Put stores what r gives, under name for people. The same bytes twice are
	// one file. More than limit bytes is CodeTooLarge, and then nothing is kept;
	// nor after any other error.
	Put(ctx context.Context, name string, r io.Reader, limit int64) (File, error)
	// Stat describes a stored file; CodeNotFound where there is none.
	Stat(ctx context.Context, id string) (File, error)
	// Local returns the path of a readable local copy, checked against id. The
	// caller doesn't change or remove it.
	Local(ctx context.Context, id string) (path string, err error)
}
