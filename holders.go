package scu

import "context"

// FileHolders keeps which owners have which files. A [FileStore] keeps the same bytes
// once, whoever brings them; who may name them is here. The administrator is the owner "".
type FileHolders interface {
	// HoldFile notes that an owner has a file, called as f says.
	HoldFile(ctx context.Context, owner string, f File) error
	// HeldFile returns a file as its owner has it; CodeNotFound if it isn't the owner's.
	HeldFile(ctx context.Context, owner, id string) (File, error)
	// HeldFiles lists an owner's files in the order of their ids.
	HeldFiles(ctx context.Context, owner string) ([]File, error)
	// ReleaseFile takes a file from an owner. Twice is once.
	ReleaseFile(ctx context.Context, owner, id string) error
	// HoldersOf lists the owners that have a file.
	HoldersOf(ctx context.Context, id string) ([]string, error)
	// AdoptFiles gives the administrator what has no owner among the files that list
	// gives, page by page. It does so once in a service's life: what is kept later has one.
	AdoptFiles(ctx context.Context, list func(ctx context.Context, after string) (page []File, more bool, err error)) error
}
