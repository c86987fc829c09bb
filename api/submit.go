package api

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// publishTime bounds the append to the log. It runs on though the client leaves:
// the submission must not be half made.
const publishTime = 15 * time.Second

type submitInput struct {
	Body client.SubmitRequest
}

// submit takes a job in. Everything is checked first, in the order of what it
// costs: the fields, the model's name, the data, then model and data together.
// Only then anything is kept.
func (s *Server) submit(ctx context.Context, in *submitInput) (*reply[client.SubmitResponse], error) {
	req := &in.Body
	cfg, err := configOf(req)
	if err != nil {
		return nil, err
	}
	if cfg.BaseModel, err = s.model(ctx, req.BaseModel); err != nil {
		return nil, within("base_model", err)
	}

	train, err := s.resolve(ctx, "train_data_path", req.TrainDataPath)
	if err != nil {
		return nil, err
	}
	defer train.Drop()
	var val *source
	var valFile *scu.File
	if req.ValDataPath != "" {
		if val, err = s.resolve(ctx, "val_data_path", req.ValDataPath); err != nil {
			return nil, err
		}
		defer val.Drop()
		valFile = &val.File
	}

	if req.Recommend {
		if cfg, err = s.recommended(ctx, req, cfg.BaseModel, &train.File, valFile); err != nil {
			return nil, err
		}
	}

	var warnings []string
	var class string
	err = s.check(ctx, func() (err error) {
		warnings, class, err = s.o.Preflight(ctx, cfg, train.File, valFile)
		return err
	})
	if err != nil {
		return nil, err
	}

	e := scu.Submission(scu.Job{
		Name: req.Name, BaseModel: cfg.BaseModel, Config: *cfg, TrainData: train.File, ValData: valFile,
		Class: class, Priority: req.Priority, Warnings: append(cfg.Warnings(), warnings...),
	}, time.Now())
	if err := s.o.Broker.CheckSize(e); err != nil {
		return nil, err
	}
	for _, data := range []*source{train, val} {
		if data != nil {
			if err := data.Keep(ctx); err != nil {
				return nil, err
			}
		}
	}
	publish, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime)
	defer cancel()
	if _, err := s.o.Broker.Submit(publish, e); err != nil {
		return nil, err
	}
	return answer(client.SubmitResponse{
		JobID: e.Job.ID, Status: e.Job.Status, Message: fmt.Sprintf("Job %s submitted successfully", e.Job.ID), Warnings: e.Job.Warnings,
	}), nil
}

// maxChecks bounds how many times at once data is read and tokenised: each takes
// some 50 MiB, and they share the processor with the training.
const maxChecks = 8

// check calls f, which checks data, when its turn has come.
func (s *Server) check(ctx context.Context, f func() error) error {
	select {
	case s.checks <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.checks }()
	return f()
}

// configOf lays the request over the defaults and checks what can be checked
// without model and data.
func configOf(req *client.SubmitRequest) (*scu.Config, error) {
	if strings.ContainsFunc(req.Name, misleads) {
		return nil, scu.Errorf(scu.CodeInvalid, "contains a control character").At("name")
	}
	cfg := scu.DefaultConfig()
	return overlay(&cfg, req)
}

// overlay lays the request over cfg.
func overlay(cfg *scu.Config, req *client.SubmitRequest) (*scu.Config, error) {
	cfg.BaseModel, cfg.TrainDataPath, cfg.ValDataPath = req.BaseModel, req.TrainDataPath, req.ValDataPath
	if req.TargetS != nil {
		cfg.Control.TargetS = *req.TargetS
	}
	if err := cfg.Merge(req.ConfigOverrides); err != nil {
		return nil, err
	}
	all := scu.AllErrors(cfg.Check())
	for i, e := range all {
		if e.Field == "control.target_s" && req.TargetS != nil && cfg.Control.TargetS == *req.TargetS {
			all[i] = e.At("target_s")
		}
	}
	if len(all) > 0 {
		return nil, all
	}
	return cfg, nil
}

// misleads reports whether a character makes a terminal or a page show something
// other than what is there.
func misleads(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

// within sets the field of the errors in err that have none.
func within(field string, err error) error {
	all := scu.AllErrors(err)
	for i, e := range all {
		if e.Field == "" && e.Code != scu.CodeInternal {
			all[i] = e.At(field)
		}
	}
	return scu.Join(all)
}
