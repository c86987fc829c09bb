package model

import (
	"encoding/json"

	"scu"
)

// rope reads a rotary embedding of headDim: rope_parameters as Transformers 5
// writes them, or rope_theta, rope_scaling and partial_rotary_factor beside each
// other as before. layerType picks one of several in rope_parameters.
func (c *configReader) rope(headDim, positions int, theta, partial float64, layerType string) *RoPE {
	// Read the old fields always: they are understood, whichever goes first.
	theta = c.num(theta, "rope_theta", "rotary_emb_base")
	partial = c.num(partial, "partial_rotary_factor", "rotary_pct")
	original := c.dim(positions, "original_max_position_embeddings")
	p := c.object("rope_parameters")
	if sub, ok := p[layerType].(map[string]any); ok {
		p = sub
	}
	if p == nil {
		p = c.object("rope_scaling")
	} else {
		c.ignore("rope_scaling")
	}
	return c.ropeFrom(p, headDim, positions, original, theta, partial)
}

func (c *configReader) object(name string) map[string]any {
	v, _ := c.get(name)
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		c.fail(scu.CodeInvalid, "%s is not an object", name)
	}
	return m
}

func (c *configReader) ropeFrom(p map[string]any, headDim, positions, original int, theta, partial float64) *RoPE {
	s := &configReader{raw: p, read: map[string]bool{}, err: c.err}
	theta = s.num(theta, "rope_theta")
	partial = s.num(partial, "partial_rotary_factor")
	kind := s.str("rope_type", s.str("type", "default"))
	r := &RoPE{Theta: theta}
	if partial > 0 && partial <= 1 {
		r.Dim = int(float64(headDim) * partial)
	}
	if r.Dim < 1 || 2*r.Pairs() > headDim {
		s.fail(scu.CodeInvalid, "a partial_rotary_factor of %v rotates %d of %d elements", partial, r.Dim, headDim)
		r.Dim = 1
	}
	if !(theta > 0) {
		s.fail(scu.CodeInvalid, "rope_theta is %v; want a positive number", theta)
	}
	if kind != "default" {
		r.Scaler = s.scaler(kind, r.Pairs(), positions, original)
	}
	s.refuseUnreadIn("rope_parameters")
	c.err = s.err
	return r
}

func (s *configReader) scaler(kind string, pairs, positions, original int) Scaler {
	k := Scaler{Type: kind, Positions: positions}
	k.Original = s.dim(original, "original_max_position_embeddings")
	_, given := s.raw["original_max_position_embeddings"]
	k.Factor = s.num(0, "factor")
	switch kind {
	case "linear", "dynamic":
	case "llama3":
		k.LowFreq, k.HighFreq = s.num(1, "low_freq_factor"), s.num(4, "high_freq_factor")
		if k.LowFreq <= 0 || k.HighFreq <= k.LowFreq {
			s.fail(scu.CodeInvalid, "llama3 rope scaling needs 0 < low_freq_factor < high_freq_factor, not %v and %v", k.LowFreq, k.HighFreq)
		}
	case "yarn":
		k.BetaFast, k.BetaSlow = s.num(32, "beta_fast"), s.num(1, "beta_slow")
		k.Truncate = s.flag(true, "truncate")
		k.Attention = s.num(0, "attention_factor")
		k.MScale, k.MScaleAllDim = s.num(0, "mscale"), s.num(0, "mscale_all_dim")
		if k.Factor == 0 && given {
			k.Factor = float64(positions) / float64(k.Original)
		}
	case "longrope", "su":
		k.Type = "longrope"
		k.Attention = s.num(0, "attention_factor")
		k.Short, k.Long = s.numbers("short_factor", pairs), s.numbers("long_factor", pairs)
		if k.Factor == 0 {
			k.Factor = float64(positions) / float64(k.Original)
		}
	default:
		s.fail(scu.CodeUnsupported, "rope scaling %q is not supported; default, linear, dynamic, llama3, yarn and longrope are", kind)
	}
	if !(k.Factor > 0) {
		s.fail(scu.CodeInvalid, "rope scaling %q needs a positive factor, not %v", kind, k.Factor)
	}
	return k
}

// numbers reads a list of n positive numbers.
func (s *configReader) numbers(name string, n int) []float64 {
	v, _ := s.get(name)
	list, ok := v.([]any)
	out := make([]float64, n)
	if !ok || len(list) != n {
		s.fail(scu.CodeInvalid, "%s has %d numbers; want %d", name, len(list), n)
		return out
	}
	for i, e := range list {
		x, ok := e.(json.Number)
		f, err := x.Float64()
		if !ok || err != nil || f <= 0 {
			s.fail(scu.CodeInvalid, "%s[%d] is %v; want a positive number", name, i, e)
		}
		out[i] = f
	}
	return out
}

func (s *configReader) refuseUnreadIn(object string) {
	for n, v := range s.raw {
		if !s.read[n] && !unset(v) && n != "type" && n != "rope_type" {
			s.fail(scu.CodeUnsupported, "%s.%s = %v is not supported", object, n, v)
		}
	}
}
