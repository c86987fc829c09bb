package files

import (
	"bytes"
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
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/shannon-control/scu"
)

func open(t *testing.T) *Dir {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// left lists every file under the folder, relative to it.
func left(t *testing.T, d *Dir) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path != d.root && path != d.aside() && (!e.IsDir() || filepath.Dir(path) == d.aside()) {
			rel, _ := filepath.Rel(d.root, path)
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestPutStatLocal(t *testing.T) {
	d, ctx := open(t), context.Background()
	data := []byte("Call me Ishmael.\n")
	f, err := d.Put(ctx, "moby.txt", bytes.NewReader(data), 100)
	if err != nil {
		t.Fatal(err)
	}
	if f.ID != hash(data) || f.Name != "moby.txt" || f.Size != int64(len(data)) || f.CreatedAt.IsZero() {
		t.Errorf("Put gave %+v", f)
	}
	same, err := d.Put(ctx, "other.txt", bytes.NewReader(data), 100)
	if err != nil || same.ID != f.ID || same.Name != "other.txt" {
		t.Errorf("the same bytes again: %+v, %v", same, err)
	}
	if got := left(t, d); len(got) != 2 || filepath.Base(got[0]) != ".name" {
		t.Errorf("stored %v, want one file and its newer name", got)
	}
	// Another process sees it too, as it was called last.
	d, err = Open(d.root)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := d.Stat(ctx, f.ID)
	if f.Name = "other.txt"; err != nil || stat != f {
		t.Errorf("Stat gave %+v, %v, want %+v", stat, err, f)
	}
	path, err := d.Local(ctx, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) || filepath.Ext(path) != ".txt" {
		t.Errorf("Local gave %s with %q, %v", path, got, err)
	}
}

func TestPutLeavesNothingAfterAnError(t *testing.T) {
	broken := errors.New("the line dropped")
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		r    io.Reader
		is   error
		code scu.Code
	}{
		{"one byte too long", context.Background(), strings.NewReader("123456"), nil, scu.CodeTooLarge},
		{"endless", context.Background(), endless{}, nil, scu.CodeTooLarge},
		{"broken off", context.Background(), io.MultiReader(strings.NewReader("12"), iotest.ErrReader(broken)), broken, scu.CodeInternal},
		{"broken off, in our words", context.Background(), iotest.ErrReader(scu.Errorf(scu.CodeInvalid, "bad")), nil, scu.CodeInvalid},
		{"cancelled", cancelled, strings.NewReader("12"), context.Canceled, scu.CodeInternal},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t)
			_, err := d.Put(c.ctx, "x", c.r, 5)
			if scu.CodeOf(err) != c.code || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Put gave %v", err)
			}
			if got := left(t, d); len(got) != 0 {
				t.Errorf("left %v", got)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLimits(t *testing.T) {
	d, ctx := open(t), context.Background()
	if _, err := d.Put(ctx, "exactly", strings.NewReader("12345"), 5); err != nil {
		t.Error(err)
	}
	if f, err := d.Put(ctx, "no limit", strings.NewReader("123456"), math.MaxInt64); err != nil || f.Size != 6 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestStagedFilesAreReadableAndGoWhenDropped(t *testing.T) {
	d, ctx := open(t), context.Background()
	stage := func() scu.StagedFile {
		s, err := d.Stage(ctx, "a.txt", strings.NewReader("hello"), 10)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	readable := func(id string) bool {
		_, err := d.Local(ctx, id)
		return err == nil
	}
	one, two := stage(), stage()
	id := one.File().ID
	one.Drop()
	one.Drop()
	if !readable(id) {
		t.Error("dropping one of two took the other's file away")
	}
	two.Drop()
	if readable(id) || len(left(t, d)) != 0 {
		t.Errorf("a dropped file is still there: %v", left(t, d))
	}
	one, two = stage(), stage()
	if err := one.Keep(ctx); err != nil {
		t.Fatal(err)
	}
	one.Drop()
	two.Drop()
	if !readable(id) || len(left(t, d)) != 1 {
		t.Errorf("a kept file went with another's Drop: %v", left(t, d))
	}
	// What is kept stays kept, though a later one of the same bytes is dropped.
	stage().Drop()
	if !readable(id) {
		t.Error("a later Drop took a kept file away")
	}
}

func TestManyAtOnce(t *testing.T) {
	d, ctx := open(t), context.Background()
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			s, err := d.Stage(ctx, "x", strings.NewReader(fmt.Sprint("file ", i%4)), 10)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Drop()
			if _, err := d.Local(ctx, s.File().ID); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := s.Keep(ctx); err != nil {
					t.Error(err)
				}
				if _, err := d.Local(ctx, s.File().ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := left(t, d); len(got) != 2 {
		t.Errorf("stored %v, want the two that were kept", got)
	}
}

func TestDamagedFileIsRefusedAndReplaced(t *testing.T) {
	d, ctx := open(t), context.Background()
	f, err := d.Put(ctx, "x", strings.NewReader("hello"), 10)
	if err != nil {
		t.Fatal(err)
	}
	path, err := d.Local(ctx, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("hello, changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Local(ctx, f.ID); scu.CodeOf(err) != scu.CodeInternal {
		t.Errorf("Local of a damaged file gave %v", err)
	}

	// The same bytes, come again, take its place; those who look at them before they are
	// kept see them already.
	again, err := d.Stage(ctx, "x", strings.NewReader("hello"), 10)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Drop()
	read := func() {
		t.Helper()
		path, err := d.Local(ctx, f.ID)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}
	}
	read()
	if err := again.Keep(ctx); err != nil {
		t.Fatal(err)
	}
	again.Drop()
	read()
}

func TestUnknownAndMalformedIDs(t *testing.T) {
	d, ctx := open(t), context.Background()
	for id, code := range map[string]scu.Code{
		strings.Repeat("a", 64):                scu.CodeNotFound,
		"":                                     scu.CodeInvalid,
		"../../etc/passwd":                     scu.CodeInvalid,
		strings.Repeat("A", 64):                scu.CodeInvalid,
		"../" + strings.Repeat("a", 61):        scu.CodeInvalid,
		strings.Repeat("a", 63) + "\x00":       scu.CodeInvalid,
		strings.Repeat("a", 64) + "/../passwd": scu.CodeInvalid,
	} {
		if _, err := d.Stat(ctx, id); scu.CodeOf(err) != code {
			t.Errorf("Stat(%q) gave %v, want %s", id, err, code)
		}
		if _, err := d.Local(ctx, id); scu.CodeOf(err) != code {
			t.Errorf("Local(%q) gave %v, want %s", id, err, code)
		}
	}
}

func TestFullDiskIsExhausted(t *testing.T) {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		err := failed("store x", &fs.PathError{Op: "write", Path: "/secret/place", Err: no})
		if scu.CodeOf(err) != scu.CodeStorage || !errors.Is(err, no) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v became %v", no, err)
		}
	}
}

func TestOpenRemovesWhatIsStale(t *testing.T) {
	d := open(t)
	old, fresh := filepath.Join(d.aside(), "old"), filepath.Join(d.aside(), "fresh")
	for _, dir := range []string{old, fresh} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(old)
	if err != nil {
		t.Fatal(err)
	}
	long := info.ModTime().Add(-2 * staleAfter)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(d.root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the stale folder is still there")
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Error("a folder that may be in use is gone")
	}
}

func TestListAndDelete(t *testing.T) {
	d, ctx := open(t), context.Background()
	var want []string
	for i := range 300 { // some share a shelf
		f, err := d.Put(ctx, fmt.Sprint(i, ".txt"), strings.NewReader(fmt.Sprint("file ", i)), 100)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, f.ID)
	}
	slices.Sort(want)
	list := func(limit int) (got []string) {
		t.Helper()
		after := ""
		for {
			page, more, err := d.List(ctx, after, limit)
			if err != nil || len(page) > limit || more && len(page) < limit {
				t.Fatalf("%d files, more %v, %v", len(page), more, err)
			}
			for _, f := range page {
				if f.Name == "" || f.Size == 0 {
					t.Errorf("listed %+v", f)
				}
				got = append(got, f.ID)
			}
			if !more {
				return got
			}
			after = page[len(page)-1].ID
		}
	}
	for _, limit := range []int{7, 100, 300, 1000} {
		if got := list(limit); !slices.Equal(got, want) {
			t.Errorf("by %d: %d files, want %d in order", limit, len(got), len(want))
		}
	}
	gone := want[10]
	if err := d.Delete(ctx, gone); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Stat(ctx, gone); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("a deleted file: %v", err)
	}
	if got := list(50); !slices.Equal(got, slices.Delete(slices.Clone(want), 10, 11)) {
		t.Errorf("%d files after one was deleted", len(got))
	}
	if n := len(left(t, d)); n != len(want)-1 {
		t.Errorf("%d files are left", n)
	}
	for id, code := range map[string]scu.Code{gone: scu.CodeNotFound, "../..": scu.CodeInvalid} {
		if err := d.Delete(ctx, id); scu.CodeOf(err) != code {
			t.Errorf("deleting %q gave %v", id, err)
		}
	}
	if _, err := d.Put(ctx, "again", strings.NewReader("file 0"), 100); err != nil { // what went may come back
		t.Error(err)
	}
}
