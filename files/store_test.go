package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
	"github.com/shannon-control/scu/blobs/folder"
)

// remote hides that blobs are files of this machine.
type remote struct{ scu.Blobs }

// each runs a test with a store whose blobs are here, and with one whose blobs are
// elsewhere.
func each(t *testing.T, test func(t *testing.T, d *Store)) {
	t.Run("here", func(t *testing.T) { test(t, open(t)) })
	t.Run("elsewhere", func(t *testing.T) { test(t, openRemote(t)) })
}

func open(t *testing.T) *Store {
	t.Helper()
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// openRemote opens a store whose blobs are elsewhere.
func openRemote(t *testing.T) *Store {
	t.Helper()
	blobs, err := folder.OpenKinds(map[scu.BlobKind]string{scu.FileBlob: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(remote{blobs}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// kept lists the files that a store keeps, and what it has aside.
func kept(t *testing.T, d *Store) (ids, aside []string) {
	t.Helper()
	all, _, err := d.List(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		ids = append(ids, f.ID)
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !scu.ValidFileID(e.Name()) { // a copy
			aside = append(aside, e.Name())
		}
	}
	return ids, aside
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func TestPutStatLocal(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx, data := t.Context(), []byte("Call me Ishmael.\n")
		f, err := d.Put(ctx, "moby.txt", bytes.NewReader(data), 100)
		if err != nil {
			t.Fatal(err)
		}
		if f.ID != hash(data) || f.Name != "moby.txt" || f.Size != int64(len(data)) || f.CreatedAt.IsZero() {
			t.Errorf("Put gave %+v", f)
		}
		same, err := d.Put(ctx, "../other.txt", bytes.NewReader(data), 100)
		if err != nil || same.ID != f.ID || same.Name != "other.txt" {
			t.Errorf("the same bytes again: %+v, %v", same, err)
		}
		// Another process sees it too, as it was called last.
		d, err = New(d.blobs, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		stat, err := d.Stat(ctx, f.ID)
		if err != nil || stat.ID != f.ID || stat.Name != "other.txt" || stat.Size != f.Size {
			t.Errorf("Stat gave %+v, %v", stat, err)
		}
		for range 2 {
			path, err := d.Local(ctx, f.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
				t.Errorf("Local gave %s with %q, %v", path, got, err)
			}
		}
		if ids, aside := kept(t, d); len(ids) != 1 || len(aside) != 0 {
			t.Errorf("%q are kept, %q aside", ids, aside)
		}
	})
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
			if ids, aside := kept(t, d); len(ids)+len(aside) != 0 {
				t.Errorf("left %q, %q", ids, aside)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx := t.Context()
		if _, err := d.Put(ctx, "exactly", strings.NewReader("12345"), 5); err != nil {
			t.Error(err)
		}
		if f, err := d.Put(ctx, "no limit", strings.NewReader("123456"), math.MaxInt64); err != nil || f.Size != 6 {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

func TestStagedFilesAreReadableAndGoWhenDropped(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx := t.Context()
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
		if readable(id) || len(ids(t, d)) != 0 {
			t.Errorf("a dropped file is still there: %v", ids(t, d))
		}
		one, two = stage(), stage()
		if err := one.Keep(ctx); err != nil {
			t.Fatal(err)
		}
		one.Drop()
		two.Drop()
		if !readable(id) || len(ids(t, d)) != 1 {
			t.Errorf("a kept file went with another's Drop: %v", ids(t, d))
		}
		// What is kept stays kept, though a later one of the same bytes is dropped.
		stage().Drop()
		if !readable(id) {
			t.Error("a later Drop took a kept file away")
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx := t.Context()
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
		if got := ids(t, d); len(got) != 2 {
			t.Errorf("stored %v, want the two that were kept", got)
		}
	})
}

func TestUnknownAndMalformedIDs(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx := t.Context()
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
	})
}

func TestListAndDelete(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx := t.Context()
		var want []string
		for i := range 60 { // some share a shelf
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
		for _, limit := range []int{7, 20, 60, 1000} {
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
		if n := len(ids(t, d)); n != len(want)-1 {
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
	})
}

// ids lists the files that a store keeps.
func ids(t *testing.T, d *Store) []string {
	t.Helper()
	ids, _ := kept(t, d)
	return ids
}

func TestDamagedFileIsRefusedAndReplaced(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		ctx := t.Context()
		f, err := d.Put(ctx, "x", strings.NewReader("hello"), 10)
		if err != nil {
			t.Fatal(err)
		}
		blobs := d.blobs
		if r, ok := blobs.(remote); ok {
			blobs = r.Blobs
		}
		path, err := blobs.(scu.LocalBlobs).Path(blob(f.ID))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("hello, changed"), 0o600); err != nil {
			t.Fatal(err)
		}
		there, err := New(d.blobs, t.TempDir()) // another process, with no copy
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Local(ctx, f.ID); scu.CodeOf(err) != scu.CodeDamaged {
			t.Errorf("Local of a damaged file gave %v", err)
		}
		if _, aside := kept(t, there); len(aside) != 0 {
			t.Errorf("%q are left aside", aside)
		}

		// The same bytes, come again, take its place; those who look at them before they
		// are kept see them already.
		again, err := there.Stage(ctx, "x", strings.NewReader("hello"), 10)
		if err != nil {
			t.Fatal(err)
		}
		defer again.Drop()
		read := func(d *Store) {
			t.Helper()
			path, err := d.Local(ctx, f.ID)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := os.ReadFile(path); err != nil || string(b) != "hello" {
				t.Fatalf("%q, %v", b, err)
			}
		}
		read(there)
		if err := again.Keep(ctx); err != nil {
			t.Fatal(err)
		}
		again.Drop()
		read(there)
		read(d)
	})
}

// A copy of a file from elsewhere that was damaged here is fetched anew.
func TestDamagedCopyIsFetchedAnew(t *testing.T) {
	d := openRemote(t)
	f, err := d.Put(t.Context(), "x", strings.NewReader("hello"), 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(d.copy(f.ID)), os.WriteFile(d.copy(f.ID), []byte("hell"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if d, err = New(d.blobs, d.dir); err != nil { // the next process
		t.Fatal(err)
	}
	path, err := d.Local(t.Context(), f.ID)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestOldPartialFilesAreSwept(t *testing.T) {
	d := open(t)
	for name, age := range map[string]time.Duration{"old": 2 * staleAfter, "fresh": 0} {
		path, then := filepath.Join(d.dir, atomicfile.Partial+name), time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(d.blobs, d.dir); err != nil {
		t.Fatal(err)
	}
	if _, aside := kept(t, d); !slices.Equal(aside, []string{atomicfile.Partial + "fresh"}) {
		t.Errorf("left: %q", aside)
	}
}

// What is staged doesn't travel before it is kept.
func TestOnlyWhatIsKeptTravels(t *testing.T) {
	each(t, func(t *testing.T, d *Store) {
		s, err := d.Stage(t.Context(), "a.txt", strings.NewReader("hello"), 10)
		if err != nil {
			t.Fatal(err)
		}
		if file, err := d.Stat(t.Context(), s.File().ID); err != nil || file.Size != 5 || file.Name != "a.txt" {
			t.Errorf("Stat of a staged file gave %+v, %v", file, err)
		}
		if _, err := d.blobs.Stat(t.Context(), blob(s.File().ID)); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("before Keep the store says %v", err)
		}
		s.Drop()
		if _, err := d.Stat(t.Context(), s.File().ID); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("Stat of a dropped file gave %v", err)
		}
	})
}
