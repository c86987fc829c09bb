//go:build !unix

package cpu

// allocate returns zeroed memory, aligned for every type. Go's heap owns it:
// there are no pages to release.
func allocate(bytes int) (raw, pages []byte, err error) { return heap(bytes), nil, nil }

func release([]byte) {}
