package api

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// gc answers with what collect plans, or does, by the retention policy; nil: there is none.
func (s *Server) gc(collect func(context.Context) ([]scu.Collected, error)) func(context.Context, *struct{}) (*reply[client.GCReport], error) {
	return func(ctx context.Context, _ *struct{}) (*reply[client.GCReport], error) {
		if collect == nil {
			return nil, scu.Errorf(scu.CodeConflict, "there is no retention policy: everything is kept").WithHint("start the API with --keep, such as --keep jobs=90d,files=500GB")
		}
		all, err := collect(ctx)
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
