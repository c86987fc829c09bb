package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/shannon-control/scu"
)

func randomBytes(n int) []byte {
	var seed [32]byte
	b := make([]byte, n)
	rand.NewChaCha8(seed).Read(b)
	return b
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func openFiles(t testing.TB, b *Broker, dir string) scu.FileStore {
	t.Helper()
	f, err := b.Files(testContext(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// stored counts the messages of a bucket.
func stored(t testing.TB, b *Broker, bucket string) uint64 {
	t.Helper()
	s, err := b.js.Stream(testContext(t), objectStreamPre+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func listDir(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestFilesTravel(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	here, there := openFiles(t, b, t.TempDir()), openFiles(t, b, t.TempDir())
	for _, n := range []int{0, 1, chunkSize, chunkSize + 1, 3 << 20} {
		data := randomBytes(n)
		f, err := here.Put(ctx, "corpus.txt", iotest.HalfReader(bytes.NewReader(data)), int64(n))
		if err != nil {
			t.Fatal(err)
		}
		if f.ID != sum(data) || f.Size != int64(n) || f.Name != "corpus.txt" || time.Since(f.CreatedAt) > time.Minute {
			t.Fatalf("%+v", f)
		}
		if again, err := there.Stat(ctx, f.ID); err != nil || again.ID != f.ID || again.Size != f.Size || again.Name != f.Name {
			t.Fatalf("%+v, %v", again, err)
		}
		for _, store := range []scu.FileStore{here, there, there} {
			path, err := store.Local(ctx, f.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes come back as %d others, %v", n, len(got), err)
			}
		}
	}
}

func TestSameFileTwice(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	f := openFiles(t, b, t.TempDir())
	first, err := f.Put(ctx, "a", strings.NewReader("hello"), 100)
	if err != nil {
		t.Fatal(err)
	}
	before := stored(t, b, filesBucket)
	if second, err := f.Put(ctx, "b", strings.NewReader("hello"), 100); err != nil || second.ID != first.ID || second.Name != "b" {
		t.Fatal(second, err)
	}
	if now, err := f.Stat(ctx, first.ID); err != nil || now.Name != "b" {
		t.Fatal(now, err)
	}
	if after := stored(t, b, filesBucket); after != before {
		t.Fatalf("%d messages became %d", before, after)
	}
}

func TestListAndDeleteFiles(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	f := openFiles(t, b, t.TempDir())
	if page, more, err := f.List(ctx, "", 10); err != nil || more || len(page) != 0 {
		t.Fatal(page, more, err)
	}
	var want []string
	for i := range 9 {
		file, err := f.Put(ctx, "x.txt", strings.NewReader(strings.Repeat("x", i+1)), 100)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, file.ID)
	}
	slices.Sort(want)
	list := func() (got []string) {
		t.Helper()
		for after, more := "", true; more; after = got[len(got)-1] {
			var page []scu.File
			var err error
			if page, more, err = f.List(ctx, after, 4); err != nil || len(page) == 0 {
				t.Fatal(page, err)
			}
			for _, x := range page {
				got = append(got, x.ID)
			}
		}
		return got
	}
	if got := list(); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if err := f.Delete(ctx, want[3]); err != nil {
		t.Fatal(err)
	}
	_, err := f.Local(ctx, want[3])
	wantCode(t, err, scu.CodeNotFound)
	wantCode(t, f.Delete(ctx, want[3]), scu.CodeNotFound)
	if got := list(); !slices.Equal(got, slices.Delete(slices.Clone(want), 3, 4)) {
		t.Fatalf("got %v", got)
	}
}

func TestRefusedFilesLeaveNothing(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	dir := t.TempDir()
	f := openFiles(t, b, dir)
	gone, cancel := context.WithCancel(testContext(t))
	cancel()
	broken := errors.New("broken line")
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		code scu.Code
	}{
		"too long":         {testContext(t), bytes.NewReader(randomBytes(1<<20 + 1)), scu.CodeTooLarge},
		"endless":          {testContext(t), endless{}, scu.CodeTooLarge},
		"broken reader":    {testContext(t), io.MultiReader(bytes.NewReader(randomBytes(1000)), iotest.ErrReader(broken)), scu.CodeUnavailable},
		"cancelled before": {gone, strings.NewReader("x"), scu.CodeUnavailable},
	} {
		_, err := f.Put(c.ctx, "x", c.r, 1<<20)
		if scu.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
		if left := listDir(t, dir); len(left) != 0 {
			t.Errorf("%s leaves %q", name, left)
		}
	}
	if n := stored(t, b, filesBucket); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// The object store itself keeps nothing of what broke on the way.
func TestBrokenObjectLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	id := scu.NewJobID()
	ctx, cancel := context.WithCancelCause(testContext(t))
	parts := io.MultiReader(bytes.NewReader(randomBytes(1<<20)), readFunc(func([]byte) (int, error) {
		cancel(errors.New("the trainer shuts down"))
		return 0, nil
	}), endless{})
	if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, parts); err == nil || !strings.Contains(err.Error(), "shuts down") {
		t.Fatal(err)
	}
	if n := stored(t, b, adaptersBucket); n != 0 {
		t.Fatalf("%d messages are stored", n)
	}
	_, _, err := b.GetAdapter(testContext(t), scu.AdapterKey{Job: id, Attempt: 1})
	wantCode(t, err, scu.CodeNotFound)
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestUnknownFiles(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	f := openFiles(t, b, t.TempDir())
	for _, id := range []string{sum([]byte("nobody's")), "", "../../etc/passwd", strings.Repeat("A", 64)} {
		_, err := f.Stat(ctx, id)
		wantCode(t, err, scu.CodeNotFound)
		_, err = f.Local(ctx, id)
		wantCode(t, err, scu.CodeNotFound)
	}
}

func TestDamagedCopyIsFetchedAnew(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	dir := t.TempDir()
	data := randomBytes(100_000)
	stored, err := openFiles(t, b, dir).Put(ctx, "x", bytes.NewReader(data), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, stored.ID)
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:50_000], 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := openFiles(t, b, dir).Local(ctx, stored.ID) // as the next process would
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(got); err != nil || !bytes.Equal(b, data) {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
}

func TestDamageInTheStoreIsSeen(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	dir := t.TempDir()
	id := sum([]byte("the right bytes"))
	store, err := b.js.ObjectStore(ctx, filesBucket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutBytes(ctx, id, []byte("wrong bytes")); err != nil {
		t.Fatal(err)
	}
	_, err = openFiles(t, b, dir).Local(ctx, id)
	wantCode(t, err, scu.CodeInternal)
	if left := listDir(t, dir); len(left) != 0 {
		t.Fatalf("leaves %q", left)
	}
}

func TestOldPartialFilesAreSwept(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, partial+"old"), filepath.Join(dir, partial+"fresh")
	for _, p := range []string{old, fresh} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * transferTimeout)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	openFiles(t, b, dir)
	if left := listDir(t, dir); len(left) != 1 || left[0] != filepath.Base(fresh) {
		t.Fatalf("left: %q", left)
	}
}

func TestAdapters(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	id, zip := scu.NewJobID(), randomBytes(10<<20)
	size, digest, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2}, bytes.NewReader(zip))
	if err != nil || size != int64(len(zip)) || digest != sum(zip) {
		t.Fatal(size, digest, err)
	}
	if _, _, err := b.PutAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 1}, strings.NewReader("of a trainer that was given up")); err != nil {
		t.Fatal(err)
	}
	r, size, err := b.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || size != int64(len(zip)) || !bytes.Equal(got, zip) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.DeleteAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2}); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = b.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: 2})
	wantCode(t, err, scu.CodeNotFound)
	_, _, err = b.GetAdapter(ctx, scu.AdapterKey{Job: "..", Attempt: 2})
	wantCode(t, err, scu.CodeNotFound)
}
