package generate

import (
	"math"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// chance is how likely a token was by its logits, beside so many of the likeliest.
func chance(tok *tokenizer.Tokenizer, logits []float32, id int32, others int) *scu.TokenChance {
	top := slices.Max(logits)
	var sum float64
	for _, x := range logits {
		sum += math.Exp(float64(x - top))
	}
	of := func(i int32) scu.TokenChance {
		return scu.TokenChance{Text: tok.Decode([]int32{i}, false), LogProb: float64(logits[i]-top) - math.Log(sum)}
	}
	c := of(id)
	for _, i := range likeliest(logits, others) {
		c.Others = append(c.Others, of(i))
	}
	return &c
}

// likeliest are the n greatest logits, from the greatest on.
func likeliest(logits []float32, n int) []int32 {
	var best []int32
	for i, x := range logits {
		at := len(best)
		for at > 0 && x > logits[best[at-1]] {
			at--
		}
		if at < n {
			best = slices.Insert(best, at, int32(i))
			best = best[:min(n, len(best))]
		}
	}
	return best
}
