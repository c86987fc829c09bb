package model_test

import (
	"context"
	"math"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/reference"
	"github.com/shannon-control/scu/trainer/model"
)

// Every family's cached, token by token logits equal those of one pass over the
// whole text, with an adapter on everything.
func TestCacheEqualsOnePass(t *testing.T) {
	ids := []int32{5, 17, 3, 99, 42, 7, 7, 120, 33, 64, 12, 150}
	for _, family := range append([]string{"llama3_rope"}, families...) {
		t.Run(family, func(t *testing.T) {
			dec := newRig(t, reference.New(kernels.F32), family, 0).dec
			w, err := dec.NewWorkspace(model.WorkspaceOptions{Batch: 1, Len: len(ids)})
			must(t, err)
			defer w.Close()
			none := make([]int32, len(ids))
			for i := range none {
				none[i] = -1
			}
			ctx := context.Background()
			want, err := dec.Logits(ctx, w, model.Batch{Rows: 1, Len: len(ids), IDs: ids, Targets: none}, []int{4, 5, 11})
			must(t, err)

			cache, err := dec.NewCache(len(ids))
			must(t, err)
			defer cache.Close()
			var got []float32
			for _, part := range [][]int32{ids[:5], ids[5:6], ids[6:]} {
				l, err := cache.Next(ctx, part)
				must(t, err)
				got = append(got, l...)
			}
			for i := range want {
				if math.Abs(float64(got[i]-want[i])) > 2e-5 {
					t.Fatalf("logit %d: cached %v, in one pass %v", i, got[i], want[i])
				}
			}
			if _, err := cache.Next(ctx, ids[:1]); err == nil {
				t.Error("a full cache took a token")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
