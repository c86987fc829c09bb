package model

import (
	"encoding/json"
	"maps"

	"github.com/shannon-control/scu"
)

// ropeFields are the settings of a rotary embedding that stand outside rope_parameters
// and rope_scaling, or the family's defaults.
type ropeFields struct {
	headDim, positions int
	theta, partial     float64
	whole              bool // the family rotates whole heads, whatever partial says
	original           int  // positions before stretching, which override the object's own; 0: not given
}

// rope reads the rotary embedding of a family that rotates whole heads.
func (c *configReader) rope(d llamaDims) *RoPE {
	name, p := c.ropeObject()
	return c.ropeFrom(name, p, ropeFields{headDim: d.headDim, positions: d.positions, theta: c.num(10000, "rope_theta"),
		partial: c.num(1, "partial_rotary_factor"), whole: true, original: c.optionalDim("original_max_position_embeddings")})
}

// neoxRope reads GPT-NeoX's, which knows the usual names only inside the object.
func (c *configReader) neoxRope(headDim, positions int) *RoPE {
	name, p := c.ropeObject()
	r := c.ropeFrom(name, p, ropeFields{headDim: headDim, positions: positions, theta: c.num(10000, "rotary_emb_base"),
		partial: c.num(0.25, "rotary_pct"), original: c.optionalDim("original_max_position_embeddings")})
	if theta := c.num(r.Theta, "rope_theta"); theta != r.Theta {
		c.note("rope_theta %v is not applied: GPT-NeoX reads rotary_emb_base, in Transformers too", theta)
	}
	if v, _ := c.get("partial_rotary_factor"); v != nil && int(float64(headDim)*c.num(0, "partial_rotary_factor")) != r.Dim {
		c.note("partial_rotary_factor %v is not applied: GPT-NeoX reads rotary_pct, in Transformers too", v)
	}
	return r
}

// phi3Rope reads Phi-3's: longrope, which older files call "su" or "yarn".
func (c *configReader) phi3Rope(d llamaDims) *RoPE {
	name, p := c.ropeObject()
	for _, field := range []string{"rope_type", "type"} {
		if k := p[field]; k == "su" || k == "yarn" {
			p = maps.Clone(p)
			p[field] = "longrope"
		}
	}
	return c.ropeFrom(name, p, ropeFields{headDim: d.headDim, positions: d.positions, theta: c.num(10000, "rope_theta"),
		partial: c.num(1, "partial_rotary_factor"), original: c.dim(4096, "original_max_position_embeddings")})
}

// gemma3Ropes reads Gemma 3's two: one for the layers with full attention, one for
// those with a window. rope_scaling applies to the first.
func (c *configReader) gemma3Ropes(d llamaDims) (global, sliding *RoPE) {
	f := ropeFields{headDim: d.headDim, positions: d.positions, theta: c.num(1e6, "rope_theta"), partial: c.num(1, "partial_rotary_factor"), whole: true}
	c.ignore("original_max_position_embeddings")
	full, window := map[string]any{"rope_type": "default"}, map[string]any{}
	c.within("rope_parameters", c.object("rope_parameters"), func(s *configReader) {
		if p := s.object("full_attention"); p != nil {
			full = maps.Clone(p)
		}
		window = s.object("sliding_attention")
		s.refuseUnread(nil)
	})
	maps.Copy(full, c.object("rope_scaling"))
	global = c.ropeFrom("rope_parameters.full_attention", full, f)
	f.theta, f.partial = c.num(10000, "rope_local_base_freq"), 1 // noted once
	sliding = c.ropeFrom("rope_parameters.sliding_attention", window, f)
	for _, r := range []*RoPE{global, sliding} {
		if r.Scaler.Type == "yarn" && !r.Scaler.Truncate {
			c.fail(scu.CodeUnsupported, "rope_parameters: truncate = false is not supported for each layer type")
		}
	}
	return global, sliding
}

// ropeObject returns the object that describes the rotary embedding: rope_scaling, the
// name before Transformers 5, wins over rope_parameters.
func (c *configReader) ropeObject() (name string, p map[string]any) {
	old, now := c.object("rope_scaling"), c.object("rope_parameters")
	if len(old) > 0 {
		return "rope_scaling", old
	}
	return "rope_parameters", now
}

// optionalDim reads a size; 0 if it is absent.
func (c *configReader) optionalDim(name string) int {
	if v, _ := c.get(name); v == nil {
		return 0
	}
	return c.dim(-1, name)
}

// ropeFrom reads the object p of that name.
func (c *configReader) ropeFrom(name string, p map[string]any, f ropeFields) *RoPE {
	r := &RoPE{}
	c.within(name, p, func(s *configReader) { s.rotary(r, f) })
	return r
}

// rotary reads the fields of rope_parameters or rope_scaling, which override f.
func (s *configReader) rotary(r *RoPE, f ropeFields) {
	r.Theta = s.num(f.theta, "rope_theta")
	if !(r.Theta > 0) {
		s.fail(scu.CodeInvalid, "rope_theta is %v; want a positive number", r.Theta)
	}
	partial := s.num(f.partial, "partial_rotary_factor")
	kind := s.str("rope_type", s.str("type", "default"))
	s.ignore("type")
	if f.whole && partial != 1 {
		if kind != "default" {
			s.fail(scu.CodeUnsupported, "partial_rotary_factor = %v is not supported beside rope_type %q", partial, kind)
		}
		s.note("partial_rotary_factor %v is not applied: this family rotates whole heads, in Transformers too", partial)
		partial = 1
	}
	if partial > 0 && partial <= 1 {
		r.Dim = int(float64(f.headDim) * partial)
	}
	if r.Dim < 1 || 2*r.Pairs() > f.headDim {
		s.fail(scu.CodeInvalid, "partial_rotary_factor is %v, which rotates %d of a head's %d elements", partial, r.Dim, f.headDim)
		r.Dim = 1
	}
	if kind == "yarn" && r.Dim%2 != 0 {
		s.fail(scu.CodeUnsupported, "partial_rotary_factor = %v is not supported beside rope_type \"yarn\": it rotates %d elements, an odd number", partial, r.Dim)
	}
	if f.original == 0 {
		f.original = s.dim(f.positions, "original_max_position_embeddings")
	}
	s.ignore("original_max_position_embeddings")
	if kind != "default" {
		r.Scaler = s.scaler(kind, r.Pairs(), f.positions, f.original)
	}
	s.refuseUnread(nil)
}

// scaler reads the fields of one kind of scaling.
func (s *configReader) scaler(kind string, pairs, positions, original int) Scaler {
	k := Scaler{Type: kind, Positions: positions, Original: original}
	ratio := float64(positions) / float64(original)
	switch kind {
	case "linear", "dynamic":
		k.Factor = s.num(0, "factor")
	case "llama3":
		k.Factor = s.num(0, "factor")
		k.LowFreq, k.HighFreq = s.num(1, "low_freq_factor"), s.num(4, "high_freq_factor")
		if k.LowFreq <= 0 || k.HighFreq <= k.LowFreq {
			s.fail(scu.CodeInvalid, "low_freq_factor is %v and high_freq_factor %v; want 0 < low < high", k.LowFreq, k.HighFreq)
		}
	case "yarn":
		k.Factor = s.num(ratio, "factor")
		k.BetaFast, k.BetaSlow = s.orIfZero(32, "beta_fast"), s.orIfZero(1, "beta_slow")
		k.Truncate = s.flag(true, "truncate")
		k.Attention = s.attentionFactor()
		k.MScale, k.MScaleAllDim = s.num(0, "mscale"), s.num(0, "mscale_all_dim")
	case "longrope":
		k.Factor = s.num(ratio, "factor")
		k.Attention = s.attentionFactor()
		k.Short, k.Long = s.numbers("short_factor", pairs), s.numbers("long_factor", pairs)
	default:
		s.fail(scu.CodeUnsupported, "rope_type = %q is not supported; default, linear, dynamic, llama3, yarn and longrope are", kind)
		return k
	}
	if !(k.Factor > 0) {
		s.fail(scu.CodeInvalid, "factor is %v; rope_type %q needs a positive number", k.Factor, kind)
	}
	return k
}

// orIfZero reads a number for which 0 means unset.
func (s *configReader) orIfZero(def float64, name string) float64 {
	if x := s.num(def, name); x != 0 {
		return x
	}
	return def
}

// attentionFactor reads the factor on cos and sin; 0 means the method's own.
func (s *configReader) attentionFactor() float64 {
	x := s.num(0, "attention_factor")
	if v, _ := s.get("attention_factor"); v != nil && !(x > 0) {
		s.fail(scu.CodeInvalid, "attention_factor is %v; want a positive number", x)
	}
	return x
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
