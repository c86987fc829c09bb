package kernels

// Activation is the non-linearity of a feed-forward layer.
type Activation uint8

const (
	GELU     Activation = iota // x Phi(x), by erf
	GELUTanh                   // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
	SiLU                       // x sigmoid(x)
	ReLU                       // max(x, 0)
)

// ActivatedLinear is a Linear whose X is made first: act(Gate) * Up, element by element
// (GLU, arXiv:2002.05202), or, if Up has no buffer, act(Gate).
type ActivatedLinear struct {
	Act      Activation
	Gate, Up Mat
	Linear
}

// Compose does it by the operations that it stands for.
func (p ActivatedLinear) Compose(d Ops) {
	activate(d, p.Act, p.X, p.Gate, p.Up)
	d.Linear(p.Linear)
}

func activate(d Ops, act Activation, x, gate, up Mat) {
	if up.Buf == nil {
		d.Activate(act, x, gate)
		return
	}
	d.Gate(act, x, gate, up)
}

// ActivatedLinearGrad is the backward pass of a feed-forward layer: of Down, an
// ActivatedLinear, of its gate, and of In, the Linear that made Gate and, if there is one,
// Up. Those become their own gradients, in place: the DYs of In.
//
// Down.X is room for X, which isn't kept, and Down.DX for the gradient to it; what they
// hold afterwards doesn't matter.
type ActivatedLinearGrad struct {
	Act      Activation
	Gate, Up Mat
	Down, In LinearGrad
}

// Compose does it by the operations that it stands for.
func (p ActivatedLinearGrad) Compose(d Ops) {
	if p.Down.adapted() {
		activate(d, p.Act, p.Down.X, p.Gate, p.Up)
	}
	d.LinearGrad(p.Down)
	if p.Up.Buf == nil {
		d.ActivateGrad(p.Act, p.Gate, p.Gate, p.Down.DX)
	} else {
		d.GateGrad(p.Act, p.Gate, p.Up, p.Gate, p.Up, p.Down.DX)
	}
	d.LinearGrad(p.In)
}
