//go:build linux

package cublaslt

import "slices"

// Tiles of products, as cublasLtMatmulTile_t numbers them, that the library's order misjudges: its kernels were timed
// on an H100 that had been busy for a while, at its power limit (docs/gpu-notebook.md).
const (
	tileSlow  = 248 // often the first, and never faster than the next one
	tileWide  = 201
	tileWide2 = 197
	tileWide3 = 184
	tileShort = 29 // for few steps along k, behind all others in the library's order
)

// preferred returns which of the library's proposals makes a product, by their tiles: the first, unless it is known to be
// slow. The same library on the same kind of GPU proposes the same.
func preferred(s Shape, tiles []int) int {
	var order []int
	switch {
	case s.Type.Bytes(1) != 2 || s.TransA:
	case s.TransB && s.N >= 16384: // up to 14% behind
		order = []int{tileWide, tileWide2}
		if s.M < 2048 {
			order = []int{tileWide2, tileWide3}
		}
	case s.M >= 8192 && s.K < 1024: // up to 17% behind
		order = []int{tileShort}
	}
	for _, t := range order {
		if i := slices.Index(tiles, t); i >= 0 {
			return i
		}
	}
	return max(0, slices.IndexFunc(tiles, func(t int) bool { return t != tileSlow }))
}
