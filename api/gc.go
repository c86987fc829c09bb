package api

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// collect plans, or does, what the retention policy asks for.
type collect = func(context.Context) ([]scu.Collected, error)

func (s *Server) gc(which func() collect) func(context.Context, *struct{}) (*reply[client.GCReport], error) {
	return func(ctx context.Context, _ *struct{}) (*reply[client.GCReport], error) {
		do := which()
		if do == nil {
			return nil, scu.Errorf(scu.CodeConflict, "there is no retention policy: everything is kept").WithHint("start the API with --keep, such as --keep jobs=90d,files=500GB")
		}
		all, err := do(ctx)
		if err != nil {
			return nil, err
		}
		out := client.GCReport{Collected: all}
		if all == nil {
			out.Collected = []scu.Collected{}
		}
		for _, x := range all {
			if x.Error == "" {
				out.Count++
				out.Bytes += x.Bytes
			}
		}
		return answer(out), nil
	}
}
