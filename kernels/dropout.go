package kernels

// Mask is a dropout mask: P the probability that an element is dropped, rounded
// as random.NewMask does. The mask's key is random.Key(k, Module) of the U64 k
// that Key holds when the operation runs: the key of a micro-batch, told apart by
// the module. With P 0 everything is kept as it is, and Key isn't read.
type Mask struct {
	P      float32
	Key    Scalar
	Module uint64
}

// Dropout is Dst = Src where the mask keeps the element, times the mask's scale,
// and 0 elsewhere; with Add, Dst += that. The mask is a function of the key and
// the element's index (row*Cols + column) alone, see random.Mask: applied to the
// gradient with the same key it is the backward pass. Dst may be Src.
type Dropout struct {
	Dst, Src Mat
	Mask     Mask
	Add      bool
}
