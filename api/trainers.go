package api

import (
	"context"
	"slices"

	"github.com/shannon-control/scu/api/client"
)

// trainers lists the live trainers, by name.
func (s *Server) trainers(ctx context.Context, _ *struct{}) (*reply[client.TrainerList], error) {
	all, err := s.o.Broker.Trainers(ctx)
	if err != nil {
		return nil, err
	}
	halts, err := s.o.Broker.Halted(ctx)
	if err != nil {
		return nil, err
	}
	for i, p := range all {
		all[i].Draining = slices.Contains(halts.Trainers, p.Trainer)
	}
	return answer(client.TrainerList{Trainers: all, Count: len(all)}), nil
}
