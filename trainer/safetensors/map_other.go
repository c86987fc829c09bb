//go:build !unix

package safetensors

import "os"

// mapFile reads size > 0 bytes of f into memory, where there is no mmap.
func mapFile(f *os.File, size int) (data []byte, unmap func() error, err error) {
	data = make([]byte, size)
	if err := readFull(f, data, 0); err != nil {
		return nil, nil, err
	}
	return data, func() error { return nil }, nil
}
