package optim

// LossScale is what the loss is multiplied by before the backward pass where activations
// are F16, so that small gradients don't round to 0 there; the gradient of the weights,
// which is F32, is divided by it again. It is a power of two, as large as the gradients
// bear: a step whose gradient overflows is made again with half of it, and after 2,000
// steps that didn't it doubles (Micikevicius et al., arXiv:1710.03740; the figures are those
// of torch.amp.GradScaler).
type LossScale struct {
	Factor float64 `json:"factor"`
	Steps  int     `json:"steps"` // made since it last changed
}

const (
	firstLossScale  = 1 << 16
	mostLossScale   = 1 << 24
	lossScaleGrowth = 2000 // steps
)

// NewLossScale is the scale of a run that begins.
func NewLossScale() *LossScale { return &LossScale{Factor: firstLossScale} }

// Grow counts a step that was made.
func (l *LossScale) Grow() {
	l.Steps++
	if l.Steps >= lossScaleGrowth && l.Factor < mostLossScale {
		*l = LossScale{Factor: 2 * l.Factor}
	}
}

// Halve reports whether a step is to be made again, with half the scale: a gradient that
// overflows unscaled isn't the scale's doing.
func (l *LossScale) Halve() bool {
	if l.Factor <= 1 {
		return false
	}
	*l = LossScale{Factor: l.Factor / 2}
	return true
}
