package kernels

// Attention is causal scaled dot-product attention with grouped query heads.
//
// Q is [Batch*QueryLen, Q.N, Dim], K and V [Batch*KeyLen, K.N, Dim], Out like Q;
// Q.N is a multiple of K.N and query head h reads key head h/(Q.N/K.N). Dim is at
// most 256. The queries are the last QueryLen of KeyLen positions (QueryLen ==
// KeyLen in training; fewer when a key-value cache is read).
//
// Position i sees positions j <= i, and only i-j < Window if Window > 0. Starts, if
// there, is I32 [Batch*KeyLen] and cuts each batch row into segments that don't
// see each other: position i sees none before Starts[b*KeyLen+i], the first
// position of its own segment. So 0 <= Starts[i] <= i, and Starts never decreases
// along a batch row. What lies outside every query's sight costs no time.
//
// scores = Scale q.k; if Softcap > 0: Softcap tanh(scores/Softcap).
// LSE [Batch, Q.N, QueryLen] (F32) receives log sum exp of each row's scores:
// what the backward pass needs instead of the probabilities.
// Nothing of size QueryLen x KeyLen is kept (FlashAttention, arXiv:2205.14135).
type Attention struct {
	Batch, QueryLen, KeyLen int
	Q, K, V, Out            Heads
	LSE                     Buffer
	Starts                  Buffer
	Scale, Softcap          float32
	Window                  int
}

// AttentionGrad asks for the gradients of an Attention with the same fields;
// Out and LSE hold what the forward pass left. DQ, DK, DV are overwritten. A query
// that sees one key alone has a gradient of 0, and not of rounding errors, which
// AdamW would blow up to whole steps.
//
// Rotation, if its Half isn't 0, is how the rows of Q and of K, as many, were rotated: DQ and DK
// are then rotated back, so that they are the gradients to what was there before.
type AttentionGrad struct {
	Attention
	DOut, DQ, DK, DV Heads
	Rotation         Rotation
}
