package api

import (
	"context"
	"fmt"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (s *Server) haltQueue(halt bool, message string) func(context.Context, *struct{}) (*reply[client.HaltResponse], error) {
	return func(ctx context.Context, _ *struct{}) (*reply[client.HaltResponse], error) {
		if err := s.o.Broker.HaltQueue(ctx, halt); err != nil {
			return nil, err
		}
		return answer(client.HaltResponse{Message: message}), nil
	}
}

type trainerInput struct {
	ID string `path:"id" maxLength:"64" doc:"The trainer's name"`
}

func (s *Server) drain(drain bool, message string) func(context.Context, *trainerInput) (*reply[client.HaltResponse], error) {
	return func(ctx context.Context, in *trainerInput) (*reply[client.HaltResponse], error) {
		if !scu.ValidTrainer(in.ID) {
			return nil, scu.Errorf(scu.CodeNotFound, "no trainer %.40q", in.ID)
		}
		if drain { // a trainer that is gone can be released, but a name that never was isn't kept
			if _, err := s.o.Broker.Trainer(ctx, in.ID); err != nil {
				return nil, err
			}
		}
		if err := s.o.Broker.Drain(ctx, in.ID, drain); err != nil {
			return nil, err
		}
		return answer(client.HaltResponse{Message: fmt.Sprintf(message, in.ID)}), nil
	}
}
