package api

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// What can be known of a job before it is submitted. Nothing is kept.

type dataCheckInput struct {
	Body client.DataCheckRequest
}

func (s *Server) checkData(ctx context.Context, in *dataCheckInput) (*reply[scu.DataCheck], error) {
	if s.o.CheckData == nil {
		return nil, scu.Errorf(scu.CodeUnsupported, "this server doesn't check data")
	}
	req := &in.Body
	cfg, err := s.draftConfig(&client.SubmitRequest{BaseModel: req.BaseModel, TrainDataPath: req.TrainDataPath, ConfigOverrides: req.ConfigOverrides})
	if err != nil {
		return nil, err
	}
	sources, data, err := s.trainSources(ctx, req.TrainDataPath, req.TrainData)
	if err != nil {
		return nil, err
	}
	defer data.Drop()
	var check scu.DataCheck
	err = s.check(ctx, func() (err error) {
		check, err = s.o.CheckData(ctx, cfg, sources, req.Preview)
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer(check), nil
}

type estimateInput struct {
	Body client.EstimateRequest
}

func (s *Server) estimate(ctx context.Context, in *estimateInput) (*reply[scu.Estimate], error) {
	if s.o.Estimate == nil {
		return nil, scu.Errorf(scu.CodeUnsupported, "this server doesn't estimate")
	}
	req := &in.Body
	if (req.TrainDataPath == "" && len(req.TrainData) == 0) == (req.Tokens == 0) {
		return nil, scu.Errorf(scu.CodeInvalid, "give data (train_data_path or train_data) or tokens, not both or neither").At("tokens")
	}
	cfg, err := s.draftConfig(&client.SubmitRequest{
		BaseModel: req.BaseModel, TrainDataPath: req.TrainDataPath, ValDataPath: req.ValDataPath, ConfigOverrides: req.ConfigOverrides,
	})
	if err != nil {
		return nil, err
	}
	sources, val, drop, err := s.someData(ctx, req.TrainDataPath, req.TrainData, req.ValDataPath)
	if err != nil {
		return nil, err
	}
	defer drop()
	var e scu.Estimate
	err = s.check(ctx, func() (err error) {
		e, err = s.o.Estimate(ctx, cfg, sources, val, req.Tokens)
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer(e), nil
}

// draftConfig is the configuration that a submission would have, its model found.
func (s *Server) draftConfig(req *client.SubmitRequest) (*scu.Config, error) {
	cfg, err := configOf(req)
	if err != nil {
		return nil, err
	}
	if cfg.BaseModel, err = s.model(req.BaseModel); err != nil {
		return nil, within("base_model", err)
	}
	return cfg, nil
}
