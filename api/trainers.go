package api

import (
	"context"
	"slices"

	"github.com/shannon-control/scu"
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
	if owner := callerOf(ctx).only(); owner != "" {
		if err := s.hideJobs(ctx, owner, all); err != nil {
			return nil, err
		}
	}
	return answer(client.TrainerList{Trainers: all, Count: len(all)}), nil
}

// hideJobs leaves out the jobs that aren't an owner's.
func (s *Server) hideJobs(ctx context.Context, owner string, all []scu.Presence) error {
	running, err := s.o.Store.Jobs(ctx, scu.JobFilter{Owner: owner, Status: scu.Running, Limit: scu.MaxJobs})
	if err != nil {
		return err
	}
	for i, p := range all {
		if !slices.ContainsFunc(running, func(r scu.JobSummary) bool { return r.Job.ID == p.Job }) {
			all[i].Job = ""
		}
	}
	return nil
}
