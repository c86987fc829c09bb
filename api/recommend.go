package api

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

type recommendInput struct {
	Body client.RecommendRequest
}

// recommend chooses the settings of a job. Nothing is kept.
func (s *Server) recommend(ctx context.Context, in *recommendInput) (*reply[scu.Recommendation], error) {
	req := &in.Body
	model, err := s.model(req.BaseModel)
	if err != nil {
		return nil, within("base_model", err)
	}
	sources, val, drop, err := s.someData(ctx, req.TrainDataPath, req.TrainData, req.ValDataPath)
	if err != nil {
		return nil, err
	}
	defer drop()
	r, err := s.recommendation(ctx, model, sources, val)
	if err != nil {
		return nil, err
	}
	return answer(r), nil
}

func (s *Server) recommendation(ctx context.Context, model string, train scu.Sources, val *scu.File) (r scu.Recommendation, err error) {
	if s.o.Recommend == nil {
		return r, scu.Errorf(scu.CodeUnsupported, "this server doesn't recommend settings")
	}
	err = s.check(ctx, func() (err error) {
		r, err = s.o.Recommend(ctx, model, train, val)
		return err
	})
	return r, err
}

// recommended is the configuration of a submission that begins from a recommendation.
func (s *Server) recommended(ctx context.Context, req *client.SubmitRequest, model string, train scu.Sources, val *scu.File) (*scu.Config, error) {
	r, err := s.recommendation(ctx, model, train, val)
	if err != nil {
		return nil, err
	}
	cfg, err := r.Overlay(scu.DefaultConfig())
	if err != nil {
		return nil, err
	}
	c, err := overlay(&cfg, req)
	if err != nil {
		return nil, err
	}
	c.BaseModel = model
	if req.LearningRateMultiplier != 0 {
		c.LearningRate *= req.LearningRateMultiplier
	}
	return c, c.Check()
}
