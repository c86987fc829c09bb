package safetensors

import (
	"fmt"
	"math"
	"os"
	"slices"
)

// File is one open safetensors file. Its methods may be called from several goroutines; Close
// only when nobody uses a view any more.
type File struct {
	header  *Header
	index   map[string]int // name -> place in header.Tensors
	outline bool           // there is no data, see Outline
	data    []byte         // the part after the header
	unmap   func() error
}

func newFile(h *Header) *File {
	f := &File{header: h, index: map[string]int{}}
	for i, t := range h.Tensors {
		f.index[t.Name] = i
	}
	return f
}

// Open maps the file at path and checks its header. While it is open the file must not be
// truncated by others: reading a page that is gone ends the program, as with any mapping.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	defer f.Close() // a mapping outlives its descriptor
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if !st.Mode().IsRegular() {
		return nil, inFile(path, badFile("not a regular file"))
	}
	if st.Size() > math.MaxInt {
		return nil, inFile(path, badFile("%d bytes are more than this machine can address", st.Size()))
	}
	header, err := ReadHeader(f, st.Size())
	if err != nil {
		return nil, inFile(path, err)
	}
	whole, unmap, err := mapFile(f, int(st.Size()))
	if err != nil {
		return nil, inFile(path, err)
	}
	file := newFile(header)
	file.data, file.unmap = whole[header.DataOffset:], unmap
	return file, nil
}

// Names lists the tensors, sorted.
func (f *File) Names() []string {
	names := make([]string, 0, len(f.header.Tensors))
	for _, t := range f.header.Tensors {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

// Tensor finds a tensor by name. Nothing of its data is read until it is touched.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok || f.data == nil && !f.outline {
		return Tensor{}, false
	}
	t := f.header.Tensors[i]
	found := Tensor{Name: t.Name, DType: t.DType, Shape: slices.Clone(t.Shape)}
	if !f.outline {
		found.Data = f.data[t.Begin:t.End:t.End]
	}
	return found, true
}

// Metadata is the header's "__metadata__"; nil when there is none. Do not change it.
func (f *File) Metadata() map[string]string { return f.header.Metadata }

// Close ends the mapping; every Tensor.Data and View of this file is invalid from then on, and
// Tensor finds nothing. A second call does nothing.
func (f *File) Close() error {
	unmap := f.unmap
	f.data, f.unmap = nil, nil
	if unmap == nil {
		return nil
	}
	if err := unmap(); err != nil {
		return fmt.Errorf("safetensors: unmap: %w", err)
	}
	return nil
}
