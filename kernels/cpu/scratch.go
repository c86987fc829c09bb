package cpu

import "unsafe"

// Sizes, in bytes, of the scratch memory that the fast device keeps besides
// buffers, for those who plan memory: that of its threads from the start, the rest
// once it has done such an operation, and the largest of each kind.

// ThreadsScratch is what so many threads have.
func ThreadsScratch(threads int) int64 {
	n := unsafe.Sizeof(gemmScratch{}) + unsafe.Sizeof(scratch{})
	if amxInUse {
		n += unsafe.Sizeof(amxScratch{})
	}
	return int64(threads) * int64(n)
}

// LogitsScratch is what LinearCrossEntropy keeps for rows over a vocabulary, and
// LogitsRows how many of them it takes together.
func LogitsScratch(rows, vocab int) int64 { return 4 * int64(logitsRows(rows, vocab)) * int64(vocab) }
func LogitsRows(rows, vocab int) int      { return logitsRows(rows, vocab) }

// AttentionScratch is what Attention and AttentionGrad keep for a batch of rows of
// length tokens with so many key heads of dim elements.
func AttentionScratch(batch, length, heads, dim int) int64 {
	a := attention{}
	a.Batch, a.QueryLen, a.KeyLen, a.k.n, a.k.dim, a.q.dim = batch, length, length, heads, dim, dim
	head := int64(dim) * int64(a.keyStride())
	keys := 2*head + int64(length)*int64(a.dimStride()) + 2*int64(a.gradSplits())*head
	return 4 * int64(batch) * int64(heads) * keys
}
