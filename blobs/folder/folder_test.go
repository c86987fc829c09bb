package folder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/blobtest"
)

func TestMain(m *testing.M) {
	blobtest.Child(func(_ context.Context, path string) (scu.Blobs, error) { return Open(path) })
	os.Exit(m.Run())
}

func TestBlobs(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.World {
		dir := t.TempDir()
		b, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		harm := func(change func([]byte) []byte) func(*testing.T, scu.BlobKey) {
			return func(t *testing.T, key scu.BlobKey) {
				path, err := b.Path(key)
				if err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(path)
				if err == nil {
					err = os.WriteFile(path, change(data), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		return blobtest.World{
			Blobs: b, Address: dir,
			Damage: harm(func(data []byte) []byte { data[len(data)/2]++; return data }),
			Lose:   harm(func(data []byte) []byte { return data[:len(data)/2] }),
		}
	})
}

// What an older version stored, the bytes called by their title, is there as before.
func TestFilesOfAnOlderVersion(t *testing.T) {
	dir, data := t.TempDir(), []byte("Call me Ishmael.\n")
	id := blobtest.Sum(data)
	old := filepath.Join(dir, "files", id[:2], id, "moby.txt")
	if err := os.MkdirAll(filepath.Dir(old), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(old, data, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := scu.BlobKey{Kind: scu.FileBlob, Name: id}
	stat, err := scu.VerifyBlob(t.Context(), b, key)
	if err != nil || stat.Title != "moby.txt" || stat.SHA256 != id || stat.Size != int64(len(data)) {
		t.Errorf("%+v, %v", stat, err)
	}
	if stat, err = b.Retitle(t.Context(), key, "whale.txt"); err != nil || stat.Title != "whale.txt" {
		t.Errorf("%+v, %v", stat, err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("who reads it by its path: %v", err)
	}
}

func TestAdoptedFilesAreNotCopied(t *testing.T) {
	dir, data := t.TempDir(), []byte("hello")
	b, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "staged")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	key := scu.BlobKey{Kind: scu.FileBlob, Name: blobtest.Sum(data)}
	for range 2 {
		if stat, err := b.Adopt(t.Context(), key, path, key.Name, "a"); err != nil || stat.Size != 5 || stat.Title != "a" {
			t.Fatal(stat, err)
		}
	}
	kept, err := b.Path(key)
	if err != nil {
		t.Fatal(err)
	}
	one, err1 := os.Stat(path)
	two, err2 := os.Stat(kept)
	if err1 != nil || err2 != nil || !os.SameFile(one, two) {
		t.Errorf("%v, %v: not the same file", err1, err2)
	}
}

// Of a crash between the coming of the new bytes and the going of the old ones the new
// ones are read.
func TestTheNewerOfTwoIsRead(t *testing.T) {
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	key := scu.BlobKey{Kind: scu.AdapterBlob, Name: "x"}
	if _, err := b.Put(t.Context(), key, strings.NewReader("new"), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	path, err := b.Path(key)
	if err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(filepath.Dir(path), blobtest.Sum([]byte("old")))
	long := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(old, []byte("old"), 0o600), os.Chtimes(old, long, long)); err != nil {
		t.Fatal(err)
	}
	if got, err := scu.VerifyBlob(t.Context(), b, key); err != nil || got.SHA256 != blobtest.Sum([]byte("new")) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFullDiskIsExhausted(t *testing.T) {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		err := Failed("store x", &fs.PathError{Op: "write", Path: "/secret/place", Err: no})
		if scu.CodeOf(err) != scu.CodeStorage || !errors.Is(err, no) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v became %v", no, err)
		}
	}
}

func TestSweepRemovesWhatIsStale(t *testing.T) {
	b, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dirs := map[string]bool{filepath.Join(b.aside(scu.FileBlob), "old"): false, filepath.Join(b.aside(scu.FileBlob), "fresh"): true}
	for dir, stays := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if long := time.Now().Add(-time.Hour); !stays {
			if err := os.Chtimes(dir, long, long); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Sweep(t.Context(), time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	for dir, stays := range dirs {
		if _, err := os.Stat(dir); (err == nil) != stays {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
