package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes a file of the tensors in dir.
func write(t *testing.T, dir, name string, tensors ...Tensor) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, nil, tensors); err != nil {
		t.Fatal(err)
	}
	return put(t, dir, name, b.Bytes())
}

func put(t *testing.T, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFile(t *testing.T) {
	f := open(t, write(t, t.TempDir(), "x.safetensors",
		FromFloat32("w", []int{2, 2}, []float32{1, 2, 3, 4}),
		FromFloat32("b", []int{1}, []float32{5})))
	if got := fmt.Sprint(f.Names()); got != "[b w]" {
		t.Fatal(got)
	}
	w, ok := f.Tensor("w")
	if !ok || w.DType != F32 || !slices.Equal(w.Shape, []int{2, 2}) || w.String() != "w F32[2 2]" {
		t.Fatal(w, ok)
	}
	values, err := w.Float32()
	if err != nil || !slices.Equal(values, []float32{1, 2, 3, 4}) {
		t.Fatal(values, err)
	}
	if _, ok := f.Tensor("none"); ok {
		t.Fatal("found a tensor that is not there")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.Tensor("w"); ok {
		t.Fatal("found a tensor after Close")
	}
	if !slices.Equal(values, []float32{1, 2, 3, 4}) {
		t.Fatal("Float32 is not a copy")
	}
	if err := f.Close(); err != nil {
		t.Fatal("second Close:", err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Fatal(err)
	}
	if _, err := Open(put(t, dir, "empty", nil)); err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Fatal(err)
	}
}

func TestFloat32Widens(t *testing.T) {
	numbers := []float32{0, float32(math.Copysign(0, -1)), 1, -2.5, 0x1p-24, float32(math.Inf(1))}
	for _, dtype := range []DType{F32, F16, BF16} {
		tensor, err := FromFloat32As(dtype, "x", []int{len(numbers)}, numbers)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tensor.Float32()
		if err != nil || fmt.Sprint(got) != fmt.Sprint(numbers) {
			t.Fatalf("%s: %v, %v", dtype, got, err)
		}
		// The same bytes one further: no view is possible, the copy is the same.
		shifted := tensor
		shifted.Data = append([]byte{0}, tensor.Data...)[1:]
		if got, err = shifted.Float32(); err != nil || fmt.Sprint(got) != fmt.Sprint(numbers) {
			t.Fatalf("%s, not aligned: %v, %v", dtype, got, err)
		}
	}
	double := Tensor{"x", F64, []int{1}, []byte{0, 0, 0, 0, 0, 0, 0xf8, 0x3f}}
	if got, err := double.Float32(); err != nil || got[0] != 1.5 {
		t.Fatal(got, err)
	}
	if _, err := (Tensor{"x", I32, []int{1}, make([]byte, 4)}).Float32(); err == nil || !strings.Contains(err.Error(), `tensor "x": I32`) {
		t.Fatal(err)
	}
	if _, err := (Tensor{"x", F32, []int{2}, make([]byte, 4)}).Float32(); err == nil {
		t.Fatal("bytes and shape disagree")
	}
	if _, err := FromFloat32As(I8, "x", []int{1}, numbers[:1]); err == nil {
		t.Fatal("float32 written as I8")
	}
}

func TestView(t *testing.T) {
	f := open(t, write(t, t.TempDir(), "x.safetensors", FromFloat32("w", []int{2}, []float32{1, 2})))
	w, _ := f.Tensor("w")
	if got, ok := View[float32](w); !ok || !slices.Equal(got, []float32{1, 2}) {
		t.Fatal(got, ok)
	}
	if got, ok := View[uint32](w); !ok || got[0] != 0x3f800000 {
		t.Fatal(got, ok)
	}
	if _, ok := View[uint16](w); ok {
		t.Fatal("two-byte view of four-byte elements")
	}
	if _, ok := View[float32](Tensor{"x", F32, []int{1}, w.Data[1:5]}); ok {
		t.Fatal("view of bytes that are not aligned")
	}
	if got, ok := View[float32](Tensor{"x", F32, []int{0}, nil}); !ok || got == nil {
		t.Fatal("no view of an empty tensor")
	}
}

func TestOpenModel(t *testing.T) {
	a, b := FromFloat32("a", []int{1}, []float32{1}), FromFloat32("b", []int{1}, []float32{2})
	const index = `{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`

	single := t.TempDir()
	write(t, single, SingleFile, a, b)
	put(t, single, IndexFile, []byte(`not read when there is a single file`))

	sharded := t.TempDir()
	write(t, sharded, "model-00001-of-00002.safetensors", a)
	write(t, sharded, "model-00002-of-00002.safetensors", b)
	put(t, sharded, IndexFile, []byte(index))

	for _, dir := range []string{single, sharded} {
		m, err := OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(m.Names()); got != "[a b]" {
			t.Fatal(got)
		}
		got, ok := m.Tensor("b")
		if !ok || !bytes.Equal(got.Data, b.Data) {
			t.Fatal(got, ok)
		}
		if _, ok := m.Tensor("c"); ok {
			t.Fatal("found a tensor that is not there")
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	names, err := ShardNames([]byte(index))
	if err != nil || fmt.Sprint(names) != "[model-00001-of-00002.safetensors model-00002-of-00002.safetensors]" {
		t.Fatal(names, err)
	}
}

func TestOpenModelRefuses(t *testing.T) {
	a := FromFloat32("a", []int{1}, []float32{1})
	outside := write(t, t.TempDir(), "outside.safetensors", a)
	for name, c := range map[string]struct{ index, want string }{
		"absolute path":      {fmt.Sprintf(`{"weight_map":{"a":%q}}`, outside), "beside the index"},
		"parent folder":      {`{"weight_map":{"a":"../outside.safetensors"}}`, "beside the index"},
		"sub-folder":         {`{"weight_map":{"a":"sub/a.safetensors"}}`, "beside the index"},
		"backslash":          {`{"weight_map":{"a":"..\\a.safetensors"}}`, "beside the index"},
		"drive":              {`{"weight_map":{"a":"c:a.safetensors"}}`, "beside the index"},
		"empty name":         {`{"weight_map":{"a":""}}`, "beside the index"},
		"pickle":             {`{"weight_map":{"a":"pytorch_model.bin"}}`, "beside the index"},
		"shard missing":      {`{"weight_map":{"a":"gone.safetensors"}}`, "gone.safetensors"},
		"tensor elsewhere":   {`{"weight_map":{"b":"a.safetensors"}}`, `tensor "b": not here`},
		"no weight map":      {`{}`, "no weight_map"},
		"weight map a list":  {`{"weight_map":[]}`, "not valid"},
		"not JSON":           {`{`, "not valid"},
		"shard a number":     {`{"weight_map":{"a":1}}`, "not valid"},
		"one good, one gone": {`{"weight_map":{"a":"a.safetensors","b":"gone.safetensors"}}`, "gone.safetensors"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "a.safetensors", a)
			put(t, dir, IndexFile, []byte(c.index))
			_, err := OpenModel(dir)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q in it", err, c.want)
			}
		})
	}
	if _, err := OpenModel(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), IndexFile) {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	put(t, damaged, SingleFile, nil)
	put(t, damaged, IndexFile, []byte(`{"weight_map":{}}`))
	if _, err := OpenModel(damaged); err == nil || !strings.Contains(err.Error(), SingleFile) {
		t.Fatal(err)
	}
}

// FuzzShardNames: whatever an index says, the names stay beside it.
func FuzzShardNames(f *testing.F) {
	for _, index := range []string{`{"weight_map":{"a":"model.safetensors"}}`, `{"weight_map":{"a":"../model.safetensors"}}`, `{"weight_map":{"a":"a/..\\x.safetensors"}}`, `{}`, `[`} {
		f.Add([]byte(index))
	}
	f.Fuzz(func(t *testing.T, index []byte) {
		names, err := ShardNames(index)
		if err != nil {
			return
		}
		for _, name := range names {
			if filepath.Dir(filepath.Join("dir", name)) != "dir" || filepath.Ext(name) != ".safetensors" {
				t.Fatalf("%q", name)
			}
		}
	})
}
