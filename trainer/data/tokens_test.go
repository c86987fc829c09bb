package data

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// counting counts the texts that are encoded.
type counting struct {
	letters
	texts *atomic.Int64
}

func (c counting) AppendEncode(dst []int32, text string) []int32 {
	c.texts.Add(1)
	return c.letters.AppendEncode(dst, text)
}

// cached opens rows through a cache folder, with options as change makes them.
// It gives the blocks and whether anything was encoded.
func cached(t *testing.T, dir, rows string, change func(*Options)) (ids, targets [][]int32, r *Report, encoded bool) {
	t.Helper()
	o := options(8)
	o.Cache.Dir, o.FileID, o.TokenizerID = dir, "file", "tokenizer"
	if change != nil {
		change(&o)
	}
	var texts atomic.Int64
	d, r := open(t, "a.jsonl", rows, counting{texts: &texts}, o)
	ids, targets = all(t, d)
	return ids, targets, r, texts.Load() > 0
}

const someRows = `{"text":"the first"}` + "\n" + `{"prompt":"the ","completion":"second"}` + "\n" + `{"text":"the first"}`

func TestCacheHit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	ids, targets, r, encoded := cached(t, dir, someRows, nil)
	if !encoded {
		t.Fatal("nothing was encoded at first")
	}
	ids2, targets2, r2, encoded := cached(t, dir, someRows, nil)
	if encoded {
		t.Error("the same file was encoded twice")
	}
	if !reflect.DeepEqual(ids, ids2) || !reflect.DeepEqual(targets, targets2) {
		t.Error("the cache gives other blocks")
	}
	if !reflect.DeepEqual(r, r2) || len(r2.Suspicious) == 0 {
		t.Errorf("the cache gives another report: %+v, before %+v", r2, r)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%d files in the cache, error %v", len(left), err)
	}
}

func TestCacheKey(t *testing.T) {
	dir := t.TempDir()
	cached(t, dir, someRows, nil)
	for name, change := range map[string]func(*Options){
		"file":      func(o *Options) { o.FileID = "other" },
		"tokenizer": func(o *Options) { o.TokenizerID = "other" },
		"block":     func(o *Options) { o.BlockSize = 9 },
		"eos":       func(o *Options) { o.EOS = 7 },
		"bos":       func(o *Options) { o.BOS = []int32{1} },
		"train on":  func(o *Options) { o.TrainOn = scu.TrainOnCompletion },
		"no cache":  func(o *Options) { o.Cache.Dir = "" },
	} {
		if _, _, _, encoded := cached(t, dir, someRows, change); !encoded {
			t.Errorf("another %s took the blocks of the first", name)
		}
	}
}

func TestDamagedCacheIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	want, _, _, _ := cached(t, dir, someRows, nil)
	names, err := filepath.Glob(filepath.Join(dir, "*.tokens"))
	if err != nil || len(names) != 1 {
		t.Fatalf("cache files %v, error %v", names, err)
	}
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{
		"empty":     {},
		"cut off":   whole[:len(whole)-1],
		"half":      whole[:len(whole)/2],
		"longer":    append(bytes.Clone(whole), 0),
		"other key": bytes.Replace(bytes.Clone(whole), []byte(`"key":"`), []byte(`"yek":"`), 1),
	}
	for i := 0; i < len(whole); i += 7 {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		damaged[fmt.Sprintf("byte %d", i)] = b
	}
	for what, b := range damaged {
		if err := os.WriteFile(names[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, _, encoded := cached(t, dir, someRows, nil)
		if !encoded || !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: encoded %v, blocks %v", what, encoded, got)
		}
		if again, err := os.ReadFile(names[0]); err != nil || !bytes.Equal(again, whole) {
			t.Fatalf("%s: the file was not written anew: %v", what, err)
		}
	}
}

func TestStalePartsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	old, young := filepath.Join(dir, "1"+partEnding), filepath.Join(dir, "2"+partEnding)
	for _, path := range []string{old, young} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * staleAfter)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	cached(t, dir, someRows, nil)
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the old one: %v", err)
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("the young one, which may be in the making: %v", err)
	}
}

// The cache keeps what was used last, and never lets go of what it has just made
// or of what is being read.
func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	open := func(file string, maxBytes int64) bool {
		_, _, _, encoded := cached(t, dir, someRows, func(o *Options) { o.FileID, o.Cache.MaxBytes = file, maxBytes })
		return encoded
	}
	size := func() (files int, bytes int64) {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		for i, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			bytes += info.Size()
			// Clocks may be coarse: what was used before is made to look so.
			if err := os.Chtimes(name, time.Time{}, info.ModTime().Add(-time.Minute)); err != nil {
				t.Fatal(err)
			}
			files = i + 1
		}
		return files, bytes
	}
	open("one", 0)
	_, one := size()
	open("two", 0)
	size()
	o := options(8)
	o.Cache.Dir, o.FileID, o.TokenizerID = dir, "two", "tokenizer"
	reading, _, err := Open(context.Background(), write(t, "f", someRows), "a.jsonl", letters{}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer reading.Close()
	size()
	if open("one", 0) {
		t.Error("the first file's blocks are gone without a bound")
	}
	size()
	open("three", 2*one+one/2) // two is the one that was used longest ago
	if files, bytes := size(); files != 2 || bytes != 2*one {
		t.Errorf("%d files of %d bytes are left, want 2 of %d", files, bytes, one)
	}
	if ids, _ := all(t, reading); len(ids) == 0 {
		t.Error("removed blocks can't be read on")
	}
	for _, file := range []string{"one", "three"} {
		if open(file, 0) {
			t.Errorf("%s was removed", file)
		}
	}
	open("four", 1)
	if files, _ := size(); files != 1 || open("four", 1) {
		t.Errorf("%d files are left of a cache of one byte, want the newest", files)
	}
}

func TestRefusedDataLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	o := options(8)
	o.Cache.Dir, o.FileID, o.TokenizerID = dir, "file", "tokenizer"
	content := `{"text":"a"}` + "\n{"
	_, r, err := Open(context.Background(), write(t, "f", content), "a.jsonl", letters{}, o)
	if err == nil {
		t.Fatal("bad JSON was taken")
	}
	if r.Bytes != int64(len(content)) {
		t.Errorf("the report has %d bytes, not %d", r.Bytes, len(content))
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d files left, error %v", len(left), err)
	}
}

// BenchmarkJSONL reads 50 MB of rows with the built-in tokenizer. peak-MB is the
// most heap in use above what was in use before.
func BenchmarkJSONL(b *testing.B) {
	tok, err := tokenizer.Load("../../models/bookworm-2m")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "rows.jsonl")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	const size = 50 << 20
	for n, i := 0, 0; n < size; i++ {
		row := fmt.Sprintf(`{"text":"Row %d. %s"}`+"\n", i, strings.Repeat("It was the best of times, it was the worst of times. ", 1+i%40))
		if _, err := io.WriteString(f, row); err != nil {
			b.Fatal(err)
		}
		n += len(row)
	}
	f.Close()
	b.SetBytes(size)
	for b.Loop() {
		peak, stop := watchHeap()
		o := options(512)
		d, _, err := Open(context.Background(), path, "rows.jsonl", tok, o)
		if err != nil {
			b.Fatal(err)
		}
		stop()
		d.Close()
		b.ReportMetric(float64(peak.Load())/1e6, "peak-MB")
	}
}

// watchHeap samples the heap until stop; peak is the most above the first sample.
func watchHeap() (peak *atomic.Int64, stop func()) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	before := int64(sample[0].Value.Uint64())
	peak = new(atomic.Int64)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				metrics.Read(sample)
				peak.Store(max(peak.Load(), int64(sample[0].Value.Uint64())-before))
			}
		}
	}()
	return peak, func() { close(quit); <-done }
}
