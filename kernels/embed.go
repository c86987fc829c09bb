package kernels

// Embed is Dst[i] = Scale Table[IDs[i]], rows of a frozen table; with Add,
// Dst[i] += that. IDs is I32 [rows], each a row of Table.
type Embed struct {
	Dst, Table Mat
	IDs        Buffer
	Scale      float32
	Add        bool
}
