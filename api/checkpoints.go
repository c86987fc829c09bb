package api

import (
	"context"
	"fmt"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// checkpoints lists the adapters that a job kept at validations, whatever became of it.
func (s *Server) checkpoints(ctx context.Context, in *jobInput) (*reply[client.CheckpointList], error) {
	j, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	l := client.CheckpointList{JobID: j.ID, Status: j.Status, Checkpoints: j.Checkpoints, Count: len(j.Checkpoints)}
	if l.Checkpoints == nil {
		l.Checkpoints = []scu.Checkpoint{}
	}
	return answer(l), nil
}

type checkpointInput struct {
	ID   string `path:"id" doc:"The job's id"`
	Step string `path:"step" pattern:"^([0-9]{1,9}|last|best)$" patternDescription:"a step, last or best" doc:"After which step; or last, or best: that with the lowest validation loss"`
	PartInput
}

// checkpoint streams the zip of one.
func (s *Server) checkpoint(ctx context.Context, in *checkpointInput) (*huma.StreamResponse, error) {
	j, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	c, err := j.Checkpoint(in.Step)
	if err != nil {
		return nil, err
	}
	return s.zip(ctx, scu.AdapterKey{Job: j.ID, Attempt: c.Attempt, Step: c.Step}, fmt.Sprintf("%s_step%d_adapter.zip", j.ID, c.Step), c.Size, c.SHA256, in.PartInput)
}
