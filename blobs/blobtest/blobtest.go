// Package blobtest is the suite that every implementation of scu.Blobs passes.
package blobtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/shannon-control/scu"
)

// World is one store, new and empty.
type World struct {
	Blobs scu.Blobs
	// Damage changes bytes of a stored blob behind the store's back.
	Damage func(t *testing.T, key scu.BlobKey)
	// Lose takes bytes of a stored blob away behind the store's back.
	Lose func(t *testing.T, key scu.BlobKey)
	// Address is what Child's open gets to open the same store in another process.
	Address string
}

// Bytes are n bytes, the same each time for the same n.
func Bytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	return b
}

// Sum is their sha256, hex.
func Sum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func adapter(name string) scu.BlobKey { return scu.BlobKey{Kind: scu.AdapterBlob, Name: name} }

// Run runs the suite; open makes a world.
func Run(t *testing.T, open func(t *testing.T) World) {
	for name, test := range map[string]func(*testing.T, World){
		"bytes come back":                  comeBack,
		"parts":                            parts,
		"what is refused leaves nothing":   refused,
		"the new takes the place":          replaced,
		"titles":                           titles,
		"pages":                            pages,
		"kinds are apart":                  kinds,
		"deleted":                          deleted,
		"names":                            names,
		"damage is told":                   damaged,
		"damage of any kind is found":      scrubbed,
		"many at once":                     many,
		"a sweep takes nothing whole away": swept,
		"killed in the middle of a put":    killed,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t *testing.T, w World, key scu.BlobKey, data []byte, o scu.PutOptions) scu.Blob {
	t.Helper()
	b, err := w.Blobs.Put(t.Context(), key, bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func get(t *testing.T, w World, key scu.BlobKey, from, length int64) ([]byte, error) {
	t.Helper()
	r, _, err := w.Blobs.Get(t.Context(), key, from, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func wantCode(t *testing.T, err error, code scu.Code) {
	t.Helper()
	if scu.CodeOf(err) != code {
		t.Errorf("%v, want %q", err, code)
	}
}

func comeBack(t *testing.T, w World) {
	for _, n := range []int{0, 1, 32 << 10, 32<<10 + 1, 3 << 20} {
		data, key := Bytes(n), adapter(fmt.Sprint("size-", n))
		b, err := w.Blobs.Put(t.Context(), key, iotest.HalfReader(bytes.NewReader(data)), scu.PutOptions{Limit: int64(n), SHA256: Sum(data)})
		if err != nil {
			t.Fatal(err)
		}
		if b.Key != key || b.Size != int64(n) || b.SHA256 != Sum(data) || time.Since(b.StoredAt).Abs() > time.Minute {
			t.Errorf("Put gave %+v", b)
		}
		stat, err := w.Blobs.Stat(t.Context(), key)
		if err != nil || stat.Size != b.Size || stat.SHA256 != b.SHA256 {
			t.Errorf("Stat gave %+v, %v", stat, err)
		}
		if got, err := get(t, w, key, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes come back as %d others, %v", n, len(got), err)
		}
	}
}

func parts(t *testing.T, w World) {
	data, key := Bytes(100_000), adapter("parts")
	put(t, w, key, data, scu.PutOptions{})
	for _, c := range []struct{ from, length int64 }{
		{0, 1}, {0, 100_000}, {1, -1}, {99_999, -1}, {99_999, 10}, {40_000, 33_000}, {5, 0}, {100_000, -1}, {0, 200_000},
	} {
		end := int64(len(data))
		if c.length >= 0 {
			end = min(end, c.from+c.length)
		}
		if got, err := get(t, w, key, c.from, c.length); err != nil || !bytes.Equal(got, data[c.from:end]) {
			t.Errorf("%d from %d on: %d bytes, %v", c.length, c.from, len(got), err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func refused(t *testing.T, w World) {
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(scu.Errorf(scu.CodeCancelled, "the client went"))
	broken := errors.New("the line broke")
	all := func(n int) func() io.Reader { return func() io.Reader { return bytes.NewReader(Bytes(n)) } }
	then := func(err error) func() io.Reader {
		return func() io.Reader { return io.MultiReader(all(1<<20)(), iotest.ErrReader(err)) }
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		r    func() io.Reader
		o    scu.PutOptions
		code scu.Code
		is   error
	}{
		"one byte too long": {t.Context(), all(101), scu.PutOptions{Limit: 100}, scu.CodeTooLarge, nil},
		"endless":           {t.Context(), func() io.Reader { return endless{} }, scu.PutOptions{Limit: 1 << 20}, scu.CodeTooLarge, nil},
		"another sum":       {t.Context(), all(1 << 20), scu.PutOptions{SHA256: Sum(nil)}, scu.CodeInvalid, nil},
		"broken off":        {t.Context(), then(broken), scu.PutOptions{}, "", broken},
		"in our words":      {t.Context(), then(scu.Errorf(scu.CodeConflict, "no")), scu.PutOptions{}, scu.CodeConflict, nil},
		"cancelled":         {gone, all(1 << 20), scu.PutOptions{}, scu.CodeCancelled, nil},
	} {
		for _, before := range []string{"", "what was there"} {
			key := adapter("refused")
			if before != "" {
				put(t, w, key, []byte(before), scu.PutOptions{})
			}
			_, err := w.Blobs.Put(c.ctx, key, c.r(), c.o)
			if err == nil || c.code != "" && scu.CodeOf(err) != c.code || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: %v", name, err)
			}
			got, err := get(t, w, key, 0, -1)
			if before == "" {
				wantCode(t, err, scu.CodeNotFound)
				continue
			}
			if err != nil || string(got) != before {
				t.Errorf("%s: %q is there, %v", name, got, err)
			}
			if err := w.Blobs.Delete(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A reader sees the old or the new, and nothing between them.
func replaced(t *testing.T, w World) {
	key, old, next := adapter("replaced"), Bytes(200_000), Bytes(300_000)
	put(t, w, key, old, scu.PutOptions{})
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := w.Blobs.Stat(t.Context(), key); err != nil {
					t.Errorf("while it is replaced: %v", err)
					return
				}
			}
		})
	}
	for i := range 4 {
		put(t, w, key, [][]byte{next, old}[i%2], scu.PutOptions{})
	}
	put(t, w, key, next, scu.PutOptions{})
	put(t, w, key, next, scu.PutOptions{}) // the same again
	close(done)
	readers.Wait()
	if got, err := get(t, w, key, 0, -1); err != nil || !bytes.Equal(got, next) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if all, more, err := w.Blobs.List(t.Context(), scu.AdapterBlob, "", "", 10); err != nil || more || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

func titles(t *testing.T, w World) {
	data := []byte("Call me Ishmael.\n")
	key := scu.BlobKey{Kind: scu.FileBlob, Name: Sum(data)}
	if b := put(t, w, key, data, scu.PutOptions{Title: "moby.txt"}); b.Title != "moby.txt" {
		t.Errorf("%+v", b)
	}
	for _, title := range []string{"Wal, weißer.txt", "鯨.txt", "a%20b+c.txt", "moby.txt"} {
		b, err := w.Blobs.Retitle(t.Context(), key, title)
		if err != nil || b.Title != title || b.SHA256 != Sum(data) || b.Size != int64(len(data)) {
			t.Errorf("Retitle gave %+v, %v", b, err)
		}
		all, _, err := w.Blobs.List(t.Context(), scu.FileBlob, "", "", 10)
		if err != nil || len(all) != 1 || all[0].Title != title {
			t.Errorf("List gave %+v, %v", all, err)
		}
	}
	if got, err := get(t, w, key, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%q, %v", got, err)
	}
	_, err := w.Blobs.Retitle(t.Context(), adapter("nobody"), "x")
	wantCode(t, err, scu.CodeNotFound)
}

func pages(t *testing.T, w World) {
	var want []string
	for i := range 60 {
		name := fmt.Sprintf("%c%02d.%d", 'a'+i%3, i/3, i%2)
		put(t, w, adapter(name), []byte(name), scu.PutOptions{})
		want = append(want, name)
	}
	slices.Sort(want)
	list := func(prefix string, limit int) (got []string) {
		t.Helper()
		for after, more := "", true; more; {
			var page []scu.Blob
			var err error
			page, more, err = w.Blobs.List(t.Context(), scu.AdapterBlob, prefix, after, limit)
			if err != nil || len(page) > limit || more && len(page) == 0 {
				t.Fatalf("%d blobs, more %v, %v", len(page), more, err)
			}
			for _, b := range page {
				if b.Size != int64(len(b.Key.Name)) || b.SHA256 != Sum([]byte(b.Key.Name)) {
					t.Errorf("listed %+v", b)
				}
				got = append(got, b.Key.Name)
				after = b.Key.Name
			}
		}
		return got
	}
	for _, limit := range []int{1, 7, 60, 100} {
		if got := list("", limit); !slices.Equal(got, want) {
			t.Errorf("by %d: %v", limit, got)
		}
	}
	for _, prefix := range []string{"b", "b1", "b10.", "c19.1", "d"} {
		under := slices.DeleteFunc(slices.Clone(want), func(n string) bool { return !strings.HasPrefix(n, prefix) })
		if got := list(prefix, 7); !slices.Equal(got, under) {
			t.Errorf("%q: %v, want %v", prefix, got, under)
		}
	}
}

func kinds(t *testing.T, w World) {
	for _, k := range scu.BlobKinds {
		put(t, w, scu.BlobKey{Kind: k, Name: "same"}, []byte(k), scu.PutOptions{})
	}
	for _, k := range scu.BlobKinds {
		key := scu.BlobKey{Kind: k, Name: "same"}
		if got, err := get(t, w, key, 0, -1); err != nil && k != scu.FileBlob || string(got) != string(k) && k != scu.FileBlob {
			t.Errorf("%s: %q, %v", k, got, err)
		}
		if all, _, err := w.Blobs.List(t.Context(), k, "", "", 10); err != nil || len(all) != 1 || all[0].Key != key {
			t.Errorf("%s: %+v, %v", k, all, err)
		}
	}
}

func deleted(t *testing.T, w World) {
	key := adapter("deleted")
	wantCode(t, w.Blobs.Delete(t.Context(), key), scu.CodeNotFound)
	for range 2 {
		put(t, w, key, []byte("x"), scu.PutOptions{})
		if err := w.Blobs.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		_, err := w.Blobs.Stat(t.Context(), key)
		wantCode(t, err, scu.CodeNotFound)
		_, err = get(t, w, key, 0, -1)
		wantCode(t, err, scu.CodeNotFound)
		wantCode(t, w.Blobs.Delete(t.Context(), key), scu.CodeNotFound)
		if all, _, err := w.Blobs.List(t.Context(), scu.AdapterBlob, "", "", 10); err != nil || len(all) != 0 {
			t.Errorf("%+v, %v", all, err)
		}
	}
}

func names(t *testing.T, w World) {
	for _, name := range []string{"", ".", "..", ".hidden", "../../etc/passwd", "a/b", `a\b`, "a\x00", "a b", "ä", strings.Repeat("a", 201)} {
		key := adapter(name)
		_, err := w.Blobs.Put(t.Context(), key, strings.NewReader("x"), scu.PutOptions{})
		wantCode(t, err, scu.CodeInvalid)
		_, err = w.Blobs.Stat(t.Context(), key)
		wantCode(t, err, scu.CodeInvalid)
		_, err = get(t, w, key, 0, -1)
		wantCode(t, err, scu.CodeInvalid)
		wantCode(t, w.Blobs.Delete(t.Context(), key), scu.CodeInvalid)
	}
	put(t, w, adapter(strings.Repeat("a", 200)), nil, scu.PutOptions{})
	put(t, w, adapter("A-z_0.9"), nil, scu.PutOptions{})
	put(t, w, adapter("x"), nil, scu.PutOptions{})
}

// Whatever its kind, what is damaged among many is found by reading all of them, and the same
// bytes, checked on the way, mend it.
func scrubbed(t *testing.T, w World) {
	for _, kind := range scu.BlobKinds {
		broken := map[scu.BlobKey][]byte{}
		for i := range 6 {
			data := Bytes(40_000 + i)
			key := scu.BlobKey{Kind: kind, Name: Sum(data)}
			put(t, w, key, data, scu.PutOptions{})
			switch i {
			case 2:
				w.Damage(t, key)
				broken[key] = data
			case 4:
				w.Lose(t, key)
				broken[key] = data
			}
		}
		read := func() (bad []scu.BlobKey) {
			err := scu.EachBlob(t.Context(), w.Blobs, kind, "", func(b scu.Blob) error {
				_, err := scu.VerifyBlob(t.Context(), w.Blobs, b.Key)
				if scu.CodeOf(err) == scu.CodeDamaged {
					bad = append(bad, b.Key)
					err = nil
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			return bad
		}
		if bad := read(); len(bad) != 2 || broken[bad[0]] == nil || broken[bad[1]] == nil {
			t.Errorf("of the %s %v are damaged, want %d others", kind, bad, len(broken))
		}
		for key, data := range broken {
			_, err := w.Blobs.Put(t.Context(), key, bytes.NewReader(data[1:]), scu.PutOptions{SHA256: key.Name})
			wantCode(t, err, scu.CodeInvalid)
			put(t, w, key, data, scu.PutOptions{SHA256: key.Name})
		}
		if bad := read(); len(bad) != 0 {
			t.Errorf("mended, of the %s %v are damaged", kind, bad)
		}
	}
}

// Damage is seen before the last byte comes, and the same bytes, stored again, take its
// place.
func damaged(t *testing.T, w World) {
	for what, harm := range map[string]func(*testing.T, scu.BlobKey){"changed": w.Damage, "lost": w.Lose} {
		key, data := adapter(what), Bytes(100_000)
		put(t, w, key, data, scu.PutOptions{})
		put(t, w, adapter("beside"), data, scu.PutOptions{})
		harm(t, key)
		got, err := get(t, w, key, 0, -1)
		wantCode(t, err, scu.CodeDamaged)
		if len(got) >= len(data) {
			t.Errorf("%s: %d bytes came of %d", what, len(got), len(data))
		}
		_, err = scu.VerifyBlob(t.Context(), w.Blobs, key)
		wantCode(t, err, scu.CodeDamaged)
		if _, err := scu.VerifyBlob(t.Context(), w.Blobs, adapter("beside")); err != nil {
			t.Errorf("its neighbour: %v", err)
		}
		put(t, w, key, data, scu.PutOptions{})
		if got, err := get(t, w, key, 0, -1); err != nil || !bytes.Equal(got, data) {
			t.Errorf("stored again: %d bytes, %v", len(got), err)
		}
	}
}

func many(t *testing.T, w World) {
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			key, data := adapter(fmt.Sprint("many-", i%6)), Bytes(50_000+i%6)
			if _, err := w.Blobs.Put(t.Context(), key, bytes.NewReader(data), scu.PutOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range 6 {
		if got, err := get(t, w, adapter(fmt.Sprint("many-", i)), 0, -1); err != nil || !bytes.Equal(got, Bytes(50_000+i)) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

func swept(t *testing.T, w World) {
	key, data := adapter("swept"), Bytes(100_000)
	put(t, w, key, data, scu.PutOptions{})
	if err := w.Blobs.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got, err := get(t, w, key, 0, -1); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// childVariable holds the address of the store for a child process.
const childVariable = "SCU_BLOBTEST_ADDRESS"

// killedName is the blob that the child puts.
const killedName = "killed"

// Child is for TestMain: in the process that a test kills it puts a blob, half of which
// comes and no more, and never returns.
func Child(open func(ctx context.Context, address string) (scu.Blobs, error)) {
	address := os.Getenv(childVariable)
	if address == "" {
		return
	}
	blobs, err := open(context.Background(), address)
	if err == nil {
		_, err = blobs.Put(context.Background(), adapter(killedName), io.MultiReader(bytes.NewReader(Bytes(8<<20)), stuck{}), scu.PutOptions{})
	}
	fmt.Println("the put ended:", err)
	os.Exit(1)
}

// stuck says that all before it was read, and blocks.
type stuck struct{}

func (stuck) Read([]byte) (int, error) {
	fmt.Println("half is put")
	select {}
}

func killed(t *testing.T, w World) {
	for _, before := range []string{"", "what was there"} {
		key := adapter(killedName)
		if before != "" {
			put(t, w, key, []byte(before), scu.PutOptions{})
		}
		c := exec.Command(os.Args[0])
		c.Env = append(os.Environ(), childVariable+"="+w.Address)
		c.Stderr = os.Stderr
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		c.Process.Kill()
		c.Wait()
		if line != "half is put\n" {
			t.Fatalf("the child says %q, %v", line, err)
		}
		for range 2 { // also after the sweep
			got, err := get(t, w, key, 0, -1)
			if before == "" {
				wantCode(t, err, scu.CodeNotFound)
			} else if err != nil || string(got) != before {
				t.Errorf("%q is there, %v", got, err)
			}
			all, _, err := w.Blobs.List(t.Context(), scu.AdapterBlob, "", "", 10)
			if err != nil || len(all) != len(before)/max(1, len(before)) {
				t.Errorf("listed %+v, %v", all, err)
			}
			if err := w.Blobs.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
