package cuda

import (
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/cublaslt"
)

// sizes is what the scratch memory of operations depends on.
type sizes struct {
	activations kernels.DType
	on          card
	library     bool // cuBLASLt makes the products
}

func (d sizes) card() card { return d.on }

// Scratch is what a large card with cuBLASLt would need for operations in a precision, in bytes. None has to be there.
func Scratch(activations kernels.DType, ops ...any) int64 {
	return sizes{activations, card{multiprocessors: 132, hopper: true}, true}.scratch(ops...)
}

// scratch is the memory of cuBLASLt from the start, and then what the hungriest operation takes.
func (d sizes) scratch(ops ...any) int64 {
	most := 0
	for _, op := range ops {
		switch p := op.(type) {
		case kernels.MatMul:
			most = max(most, d.converted(p.B))
		case kernels.Linear:
			most = max(most, d.scratchOfLinear(p))
		case kernels.LinearGrad:
			most = max(most, d.scratchOfLinearGrad(p))
		case kernels.ActivatedLinear:
			most = max(most, d.scratchOfLinear(p.Linear)) // its sums are as large
		case kernels.ActivatedLinearGrad:
			most = max(most, d.scratchOfLinearGrad(p.Down), d.scratchOfLinearGrad(p.In), d.scratchOfActivatedGrad(p))
		case kernels.AttentionGrad:
			most = max(most, d.scratchOfAttentionGrad(p))
		case kernels.LinearCrossEntropy:
			most = max(most, d.scratchOfLoss(p))
		}
	}
	size := int64(most)
	if d.library {
		size += cublaslt.Workspace
	}
	return size
}

// dense is what scratch.take makes of a matrix of activations.
func (d sizes) dense(rows, cols int) int { return (d.activations.Bytes(rows*cols) + 255) &^ 255 }

// converted is what a product's operand of another type takes as activations.
func (d sizes) converted(m kernels.Mat) int {
	if m.Buf == nil || m.Buf.DType() == d.activations {
		return 0
	}
	return d.dense(m.Rows, (m.Cols+7)&^7)
}

// dequantizedSize is what dequantized takes for layers that have room.
func (d sizes) dequantizedSize(parts []kernels.LinearPart, spare int) int {
	if spare == 0 || parts[0].W.Buf.DType() != kernels.NF4 || parts[0].Conv1D {
		return 0
	}
	rows, room := 0, biased(parts)
	for _, p := range parts {
		rows, room = rows+p.W.Rows, room+p.LoRA.A.Rows
	}
	return d.dense(rows+room, roomy(parts[0].W.Cols+room))
}

// biased is how many columns the biases of layers that are one product take.
func biased(parts []kernels.LinearPart) int {
	for _, l := range parts {
		if l.Bias != nil {
			return biasColumns
		}
	}
	return 0
}

func (d sizes) scratchOfLinear(p kernels.Linear) (n int) {
	dropped := 0
	for _, l := range p.Parts {
		n = max(n, d.converted(l.W), d.converted(l.LoRA.A), d.converted(l.LoRA.B))
		if l.LoRA.A.Buf != nil && p.Mask.P > 0 {
			dropped = d.dense(p.X.Rows, p.X.Cols)
		}
	}
	return max(n+dropped, d.scratchOfThin(p.X, p.Mask, p.Parts, false)+d.dequantizedSize(p.Parts, p.Spare))
}

func (d sizes) scratchOfLinearGrad(p kernels.LinearGrad) (n int) {
	dropped := 0
	for _, l := range p.Parts {
		part := max(d.converted(l.W), d.converted(l.LoRA.A), d.converted(l.LoRA.B))
		if l.LoRA.A.Buf != nil {
			part += d.dense(p.X.Rows, l.LoRA.A.Rows)
			if p.Mask.P > 0 {
				dropped = d.dense(p.X.Rows, p.X.Cols)
				part += dropped // the gradient before the mask
			}
		}
		n = max(n, part)
	}
	layers := make([]kernels.LinearPart, len(p.Parts))
	for i, l := range p.Parts {
		layers[i] = l.LinearPart
	}
	return max(n+dropped, d.scratchOfThin(p.X, p.Mask, layers, true)+d.dequantizedSize(layers, p.Spare))
}

// scratchOfThin is what thin and thinForward or thinBackward take, if it comes to them.
func (d sizes) scratchOfThin(x kernels.Mat, m kernels.Mask, parts []kernels.LinearPart, backward bool) int {
	if d.activations == kernels.F32 {
		return 0
	}
	c, kept, groups, first := d.card(), 0, 0, 0 // first is what du and DB are made of
	for _, p := range parts {
		r, out := p.LoRA.A.Rows, p.LoRA.B.Rows
		if r == 0 {
			continue
		}
		groups += ceilDiv(r, 16)
		if !backward {
			continue
		}
		kept += d.dense(x.Rows, r)
		if both := ceilDiv(r, 16); both <= min(2, c.groups()) {
			du, db := lora{M: x.Rows, N: out, Groups: make([]loraGroup, both)}.parts(c)
			first += 4*(du+db) + 512 // as take rounds
		} else {
			first += d.converted(p.LoRA.B)
		}
	}
	if groups == 0 {
		return 0
	}
	down, tall := 0, 0
	for left := groups; left > 0; left -= c.groups() {
		l := lora{M: x.Rows, N: x.Cols, Groups: make([]loraGroup, min(left, c.groups()))}
		u, _ := l.parts(c)
		down, tall = down+4*u+256, tall+4*l.tallParts(c)+256
	}
	if m.P > 0 {
		kept += x.Rows * x.Cols / 8
	}
	if backward {
		return kept + max(first, tall) + 512
	}
	return kept + down + 512
}

// scratchOfActivatedGrad is what a feed-forward layer takes at once: what is left of Down goes before In's weights come.
func (d sizes) scratchOfActivatedGrad(p kernels.ActivatedLinearGrad) int {
	if d.activations == kernels.F32 {
		return 0
	}
	kept := 0
	if p.In.Mask.P > 0 {
		kept = p.Gate.Rows*(p.Gate.Cols+p.In.X.Cols)/8 + 512
	}
	var layers []kernels.LinearPart
	for _, l := range p.In.Parts {
		layers = append(layers, l.LinearPart)
	}
	l := gateLoRA{gateLoRAArgs: gateLoRAArgs{M: int32(p.Gate.Rows), N: int32(p.Gate.Cols)}}
	if p.Up.Buf != nil {
		l.Up = 1
	}
	_, part, partB := l.parts(d.card())
	kept += 2 * d.dense(p.Gate.Rows, 16) // du as a norm scales it
	return kept + d.dequantizedSize(layers, p.In.Spare) + 4*(part+partB) + 512
}

func (d sizes) scratchOfAttentionGrad(p kernels.AttentionGrad) int {
	n := 4 * p.Batch * p.QueryLen * p.Q.N
	a := attentionArgs{Batch: int32(p.Batch), Queries: int32(p.QueryLen), Keys: int32(p.KeyLen), Heads: int32(p.Q.N), KVHeads: int32(p.K.N), Dim: int32(p.Q.Dim)}
	if d.activations == kernels.F32 || !a.tiled() || p.K.N == 0 {
		return n
	}
	if splits := attentionSplits(a, d.card()); splits > 1 {
		n += 4 * splits * 2 * p.Batch * p.KeyLen * p.K.N * p.Q.Dim
	}
	return n
}

func (d sizes) scratchOfLoss(p kernels.LinearCrossEntropy) int {
	rows, vocab := p.X.Rows, p.Head.Rows
	chunk, stride, lent := logitsRows(p.Room, rows, vocab, d.activations.Bytes(1))
	n := max(d.converted(p.Head), d.converted(p.LoRA.A), d.converted(p.LoRA.B))
	if !lent {
		n += d.dense(chunk, stride)
	}
	if p.LoRA.A.Buf != nil {
		n += d.dense(rows, p.LoRA.A.Rows)
		if p.Mask.P > 0 {
			n += 2 * d.dense(rows, p.X.Cols)
		}
	}
	return n
}
