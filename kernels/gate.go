package kernels

// Activation is the non-linearity of a feed-forward layer.
type Activation uint8

const (
	GELU     Activation = iota // x Phi(x), by erf
	GELUTanh                   // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
	SiLU                       // x sigmoid(x)
	ReLU                       // max(x, 0)
)

// GatedLinear is a Linear whose X is made first: act(Gate) * Up, element by element
// (GLU, arXiv:2002.05202).
type GatedLinear struct {
	Act      Activation
	Gate, Up Mat
	Linear
}

// Compose does it by the operations that it stands for.
func (p GatedLinear) Compose(d Ops) {
	d.Gate(p.Act, p.X, p.Gate, p.Up)
	d.Linear(p.Linear)
}

// GatedLinearGrad is the backward pass of a gated feed-forward layer: of Down, a
// GatedLinear, of its gate, and of In, the Linear that made Gate and Up. Those become
// their own gradients, in place: the DYs of In.
//
// Down.X is room for X, which isn't kept, and Down.DX for the gradient to it; what they
// hold afterwards doesn't matter.
type GatedLinearGrad struct {
	Act      Activation
	Gate, Up Mat
	Down, In LinearGrad
}

// Compose does it by the operations that it stands for.
func (p GatedLinearGrad) Compose(d Ops) {
	if p.Down.adapted() {
		d.Gate(p.Act, p.Down.X, p.Gate, p.Up)
	}
	d.LinearGrad(p.Down)
	d.GateGrad(p.Act, p.Gate, p.Up, p.Gate, p.Up, p.Down.DX)
	d.LinearGrad(p.In)
}
