//go:build unix

package cpu

import "syscall"

// mappedBytes is the size from which buffers live outside Go's heap: they go
// back to the system when freed, the collector does not count them, and a lack
// of memory is an error instead of the end of the process.
const mappedBytes = 64 << 10

// allocate returns zeroed memory, aligned for every type, and the pages for
// release where there is something to give back.
func allocate(bytes int) (raw, pages []byte, err error) {
	if bytes < mappedBytes {
		return heap(bytes), nil, nil
	}
	pages, err = syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	return pages, pages, err
}

func release(pages []byte) {
	if err := syscall.Munmap(pages); err != nil {
		panic("cpu: munmap: " + err.Error())
	}
}
