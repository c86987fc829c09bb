package scu

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// Blobs stores byte strings by name: data, adapters and checkpoints. A folder, S3 and
// NATS's object store implement it, and blobs/blobtest is the suite that they all pass.
//
// A blob is there whole or not at all, whatever dies in the middle. A failing store is
// CodeUnavailable, a full one CodeStorage.
type Blobs interface {
	// Put stores what r gives under a key. What was there is replaced in one step, and
	// stays after an error.
	Put(ctx context.Context, key BlobKey, r io.Reader, o PutOptions) (Blob, error)
	// Get opens length bytes of a blob from an offset on; a length below 0 is all that
	// follow. Of a blob that is read from its first byte to its last, the last Read fails
	// with CodeDamaged if the bytes are not those that were stored. The caller closes it.
	Get(ctx context.Context, key BlobKey, from, length int64) (io.ReadCloser, Blob, error)
	// Stat describes a blob; CodeNotFound if there is none.
	Stat(ctx context.Context, key BlobKey) (Blob, error)
	// Retitle gives a blob another title, and the time of now.
	Retitle(ctx context.Context, key BlobKey, title string) (Blob, error)
	// List returns a page of the blobs of a kind whose names begin with prefix, those
	// after a name, in their order, and whether there are more.
	List(ctx context.Context, kind BlobKind, prefix, after string, limit int) (page []Blob, more bool, err error)
	// Delete removes a blob; CodeNotFound if there is none. Who reads it may be broken off.
	Delete(ctx context.Context, key BlobKey) error
	// Sweep removes what puts that broke off before a time left behind.
	Sweep(ctx context.Context, before time.Time) error
}

// LocalBlobs are Blobs whose bytes are files of this machine, or of a mount.
type LocalBlobs interface {
	Blobs
	// Path returns where the bytes of a blob are, unverified.
	Path(key BlobKey) (string, error)
	// Adopt is Put of a file, on the same disk if possible, with the sum of its bytes: it
	// gets a second name instead of a copy.
	Adopt(ctx context.Context, key BlobKey, path, sum, title string) (Blob, error)
}

// BlobKind says what a blob is.
type BlobKind string

const (
	FileBlob       BlobKind = "files"       // uploads and data sets; the name is the sha256
	AdapterBlob    BlobKind = "adapters"    // zips of adapters and of their checkpoints
	CheckpointBlob BlobKind = "checkpoints" // what an interrupted run goes on from
)

// BlobKinds lists all kinds.
var BlobKinds = []BlobKind{FileBlob, AdapterBlob, CheckpointBlob}

// BlobKey names a blob.
type BlobKey struct {
	Kind BlobKind `json:"kind"`
	Name string   `json:"name"` // 1 to 200 letters, digits, dots, dashes and underscores; the first is no dot
}

func (k BlobKey) String() string { return string(k.Kind) + "/" + k.Name }

// Job is the job that an adapter or a checkpoint is of.
func (k BlobKey) Job() string {
	id, _, _ := strings.Cut(k.Name, ".")
	return id
}

// Check refuses names that could be a path, or part of one.
func (k BlobKey) Check() error {
	ok := len(k.Name) >= 1 && len(k.Name) <= 200 && k.Name[0] != '.'
	for i := 0; ok && i < len(k.Name); i++ {
		c := k.Name[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_'
	}
	if !ok {
		return Errorf(CodeInvalid, "%.80q can't name a blob", k.Name)
	}
	return nil
}

// NotFound is the error of a blob that isn't there.
func (k BlobKey) NotFound() error { return Errorf(CodeNotFound, "there is no blob %s", k) }

// Damaged is the error of a blob whose bytes are not those that were stored.
func (k BlobKey) Damaged(format string, args ...any) error {
	return Errorf(CodeDamaged, "%s is damaged in the store: %w", k, fmt.Errorf(format, args...)).
		WithHint("the same bytes, stored again, take its place")
}

// Blob describes a stored blob.
type Blob struct {
	Key      BlobKey
	Title    string // for people
	Size     int64  // bytes
	SHA256   string // hex
	StoredAt time.Time
}

// PutOptions set a Put.
type PutOptions struct {
	Title  string
	Limit  int64  // the most bytes; more are CodeTooLarge. 0: no limit
	SHA256 string // that the bytes must have, hex; others are CodeInvalid. "": any
}

// Take returns r as a store reads it: it ends with its context, with the limit, or instead
// of its end if the sum is another, and it fills each buffer however small r's pieces are.
func (o PutOptions) Take(ctx context.Context, r io.Reader) *Taken {
	return &Taken{ctx: ctx, r: r, o: o, h: sha256.New()}
}

// Taken counts and sums what it gives.
type Taken struct {
	ctx  context.Context
	r    io.Reader
	o    PutOptions
	h    hash.Hash
	size int64
}

func (t *Taken) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if t.ctx.Err() != nil {
			return 0, context.Cause(t.ctx)
		}
		var m int
		m, err = t.r.Read(p[n:])
		n += m
	}
	t.h.Write(p[:n])
	t.size += int64(n)
	if t.o.Limit > 0 && t.size > t.o.Limit {
		return 0, Errorf(CodeTooLarge, "more than the %d bytes allowed", t.o.Limit).WithHint("split the file, or ask for a higher limit")
	}
	if err == io.EOF && t.o.SHA256 != "" && t.Sum() != t.o.SHA256 {
		return 0, Errorf(CodeInvalid, "the bytes have sha256 %s, not %s", t.Sum(), t.o.SHA256)
	}
	return n, err
}

// Size is how many bytes were read.
func (t *Taken) Size() int64 { return t.size }

// Sum is their sha256, hex.
func (t *Taken) Sum() string { return hex.EncodeToString(t.h.Sum(nil)) }

// Verified returns r, the bytes of a blob, so that the last of them come only if all of
// them have its size and sum: who gets as many as were announced has the right ones.
func (b Blob) Verified(r io.ReadCloser) io.ReadCloser {
	return &verified{bufio.NewReaderSize(r, 32<<10), r, sha256.New(), b, b.Size}
}

type verified struct {
	r *bufio.Reader
	io.Closer
	h    hash.Hash
	b    Blob
	left int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.h.Write(p[:n])
	v.left -= int64(n)
	if err == nil {
		if _, err = v.r.Peek(1); err == nil {
			return n, nil
		}
	}
	if err != io.EOF {
		return 0, err
	}
	if got := hex.EncodeToString(v.h.Sum(nil)); v.left != 0 || got != v.b.SHA256 {
		return 0, v.b.Key.Damaged("its %d bytes have sha256 %s, not %s", v.b.Size-v.left, got, v.b.SHA256)
	}
	if n > 0 {
		return n, nil
	}
	return 0, io.EOF
}

// VerifyBlob reads a blob through; CodeDamaged if its bytes are not those that were stored.
func VerifyBlob(ctx context.Context, blobs Blobs, key BlobKey) (Blob, error) {
	r, b, err := blobs.Get(ctx, key, 0, -1)
	if err != nil {
		return b, err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return b, err
}

// eachAtOnce is how many blobs are listed at once by who goes through all of them: for each list NATS
// goes through all that it has.
const eachAtOnce = 50_000

// EachBlob calls f with every blob of a kind whose name begins with prefix.
func EachBlob(ctx context.Context, blobs Blobs, kind BlobKind, prefix string, f func(Blob) error) error {
	for after, more := "", true; more; {
		var page []Blob
		var err error
		if page, more, err = blobs.List(ctx, kind, prefix, after, eachAtOnce); err != nil {
			return err
		}
		for _, b := range page {
			if err := f(b); err != nil {
				return err
			}
			after = b.Key.Name
		}
	}
	return nil
}
