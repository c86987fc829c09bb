package kernels

import "slices"

// LoRA is an adapter beside a frozen weight (arXiv:2106.09685): the layer's output
// grows by Scale U B^T with U = drop(X) A^T. A [R,In] and B [Out,R] are F32; U
// [rows,R] holds activations and is kept for the backward pass. Without A's buffer
// there is no adapter.
type LoRA struct {
	A, B, U Mat
	Scale   float32
}

// Linear is the linear layers that read one input, each with its adapter:
//
//	Dst = X W^T + Bias + Scale U B^T (+ Residual),  U = drop(X) A^T
//
// X is [rows,In]. All adapters see X through the same Mask.
type Linear struct {
	X     Mat
	Mask  Mask
	Parts []LinearPart
	// Spare promises room for adapters' shares and biases beside what the product reads
	// (Memory.Spare): the device may write so many columns beside X and each W, and
	// rows below the last W. The parts' W then lie one below the other in one matrix,
	// or are all NF4, and their Dst one beside the other.
	Spare int
}

// LinearPart is one layer of a Linear: Dst [rows,Out], activations or, for logits,
// F32; W frozen [Out,In], or [In,Out] if Conv1D; Bias F32 [Out] or nil. Residual, if it
// has a buffer, is activations that are added to Dst, which are such too; it isn't Dst.
type LinearPart struct {
	Dst, Residual Mat
	W             Mat
	Conv1D        bool
	Bias          Buffer
	LoRA          LoRA
}

// LinearGrad is the backward pass of a Linear. With DU = Scale DY B, for each part:
//
//	DB += Scale DY^T U,  DA += DU^T drop(X)
//	DX  = sum over the parts of DY W + drop(DU A)
//
// DX += that if Accumulate; without DX's buffer it isn't computed. X, U and Mask
// are those of the forward pass; Dst and Bias aren't read. DA and DB are F32, of
// A's and B's shapes.
type LinearGrad struct {
	X, DX Mat
	// Norm, if it has an X, is the norm that made this X, which wasn't kept: X is room
	// for it, and what it holds afterwards doesn't matter. Norm's Mean and Rstd are
	// those of the forward pass.
	Norm       Norm
	Accumulate bool
	Mask       Mask
	Parts      []LinearPartGrad
	// Spare is a Linear's, of columns beside the last DY instead of X: the parts' DY
	// lie one beside the other.
	Spare int
}

// adapted reports whether a layer has an adapter, whose DA is made of X.
func (p LinearGrad) adapted() bool {
	return slices.ContainsFunc(p.Parts, func(l LinearPartGrad) bool { return l.LoRA.A.Buf != nil })
}

// Again makes X by d if it wasn't kept, and the adapters' gradients need it.
func (p LinearGrad) Again(d Ops) {
	if p.Norm.X.Buf != nil && p.adapted() {
		p.Norm.Dst = p.X
		d.Norm(p.Norm)
	}
}

// LinearPartGrad is one layer of a LinearGrad: DY [rows,Out] is the gradient to
// its output. Without an adapter DA and DB have no buffer.
type LinearPartGrad struct {
	LinearPart
	DY, DA, DB Mat
}
