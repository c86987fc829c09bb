// Package control is the Shannon Control Unit: the law by which lambda, the
// strength of the regulariser, follows the share of information that the adapter
// holds. It is pure arithmetic, in float64.
//
// DESIGN of the law: S = ParamBPT / (DataBPT + ParamBPT), with
// DataBPT = CE / ln 2 and ParamBPT = sum w^2 / (2 sigma^2 N ln 2), N the tokens of
// one epoch.
package control

import (
	"math"

	"github.com/shannon-control/scu"
)

const (
	smoothing = 0.1   // S_hat = 0.1 S + 0.9 S_hat
	leak      = 0.995 // of the integral, each step
	integral  = 0.2   // bound of the integral under the scu law
	span      = 3     // bound of ln(S_hat / target) under log_pi
)

// State is everything the controller remembers between steps.
type State struct {
	Lambda   float64 `json:"lambda"`
	Integral float64 `json:"integral"`
	SHat     float64 `json:"s_hat"`
	Started  bool    `json:"started"` // SHat holds a value
}

// Controller moves lambda by one law.
type Controller struct {
	State
	config scu.ControlConfig
}

// New starts a controller at lambda_init.
func New(c scu.ControlConfig) *Controller {
	return &Controller{State: State{Lambda: c.LambdaInit}, config: c}
}

// Bits are the information figures of a step.
type Bits struct {
	Data, Param, S float64 // bits per token, bits per token, share
}

// Measure turns a step's cross-entropy (nats per token) and the sum of squares
// of the LoRA weights into bits. S is 0 when both are 0.
func Measure(ce, sumSquares, sigma float64, tokensPerEpoch int64) Bits {
	b := Bits{
		Data:  ce / math.Ln2,
		Param: sumSquares / (2 * sigma * sigma * float64(tokensPerEpoch) * math.Ln2),
	}
	if total := b.Data + b.Param; total != 0 {
		b.S = b.Param / total
	}
	return b
}

// Update takes the S of the step that was just made and moves lambda for the
// next.
func (c *Controller) Update(s float64) {
	if c.Started {
		c.SHat = smoothing*s + (1-smoothing)*c.SHat
	} else {
		c.SHat, c.Started = s, true
	}
	switch c.config.Law {
	case scu.LawFixed:
	case scu.LawLogPI:
		c.logPI()
	default:
		c.scu()
	}
}

// scu is the published law: log lambda integrates Kp e + I outside a deadband.
func (c *Controller) scu() {
	k := c.config
	e := c.SHat - k.TargetS
	c.Integral *= leak
	if math.Abs(e) <= k.Deadband {
		return
	}
	if !c.pushesOut(e) {
		c.Integral = clamp(c.Integral+k.Ki*e, -integral, integral)
	}
	c.Lambda = clamp(c.Lambda*math.Exp(k.Kp*e+c.Integral), k.LambdaMin, k.LambdaMax)
}

// logPI is a positional PI on z = ln(S_hat / target): log lambda = log
// lambda_init + Kp z + I.
func (c *Controller) logPI() {
	k := c.config
	z := -float64(span)
	if c.SHat > 0 {
		z = clamp(math.Log(c.SHat/k.TargetS), -span, span)
	}
	c.Lambda = clamp(k.LambdaInit*math.Exp(k.Kp*z+c.Integral), k.LambdaMin, k.LambdaMax)
	if !c.pushesOut(z) {
		c.Integral += k.Ki * z
	}
}

// pushesOut says that lambda is at a bound and an error of this sign would move
// it further out: then the integral rests (anti-windup).
func (c *Controller) pushesOut(e float64) bool {
	return c.Lambda >= c.config.LambdaMax && e > 0 || c.Lambda <= c.config.LambdaMin && e < 0
}

// AtBound says that lambda rests at a bound and so no longer controls.
func (c *Controller) AtBound() bool {
	return c.config.Law != scu.LawFixed && (c.Lambda >= c.config.LambdaMax || c.Lambda <= c.config.LambdaMin)
}

func clamp(x, lo, hi float64) float64 { return math.Max(lo, math.Min(hi, x)) }
