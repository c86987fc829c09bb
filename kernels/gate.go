package kernels

// Activation is the non-linearity of a feed-forward layer.
type Activation uint8

const (
	GELU     Activation = iota // x Phi(x), by erf
	GELUTanh                   // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
	SiLU                       // x sigmoid(x)
	ReLU                       // max(x, 0)
)
