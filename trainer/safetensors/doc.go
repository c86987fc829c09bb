// Package safetensors reads and writes the safetensors file format:
//
//	8 bytes   N, the header's length, little-endian
//	N bytes   JSON: {"name": {"dtype": "F32", "shape": [2,3], "data_offsets": [begin, end]}, ...}
//	          and optionally "__metadata__": {"key": "text"}; padded with spaces
//	the rest  the tensors' bytes, little-endian, row-major; offsets count from here
//
// Reading trusts nothing: before Open or ReadHeader return, every length, offset, shape and name
// has been checked against the file, and what is wrong is a *FormatError that names the file and
// the tensor. A file is mapped, not read: opening costs the header only, and Tensor.Data is a
// view of the mapping.
//
// Writing is deterministic: the same tensors give the same bytes, in any order of arguments, and
// they are the bytes that the official library gives.
//
// Format: https://huggingface.co/docs/safetensors/index#format
package safetensors

import "fmt"

// FormatError says that the bytes are not a valid safetensors file (or index of shards). Errors
// of the file system are returned as they are, so the two can be told apart.
type FormatError struct {
	File    string // path, "" when read from an io.ReaderAt
	Tensor  string // the tensor concerned, "" when it is the file as a whole
	Problem string
}

func (e *FormatError) Error() string {
	s := "safetensors: "
	if e.File != "" {
		s += e.File + ": "
	}
	if e.Tensor != "" {
		s += fmt.Sprintf("tensor %q: ", e.Tensor)
	}
	return s + e.Problem
}

// badFile and badTensor make a FormatError about the whole file or about one tensor.
func badFile(format string, args ...any) error {
	return &FormatError{Problem: fmt.Sprintf(format, args...)}
}

func badTensor(name, format string, args ...any) error {
	return &FormatError{Tensor: name, Problem: fmt.Sprintf(format, args...)}
}

// inFile adds the file's name to an error that does not know it yet.
func inFile(path string, err error) error {
	if fe, ok := err.(*FormatError); ok {
		named := *fe
		named.File = path
		return &named
	}
	return fmt.Errorf("safetensors: %s: %w", path, err)
}
