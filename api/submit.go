package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/telemetry"
)

// publishTime bounds the append to the log. It runs on though the client leaves:
// the submission must not be half made.
const publishTime = 15 * time.Second

type submitInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"A name of the client's own for this submission. Within a day the same submission under the same key is one job, with the same answer; another one under it is a 409"`
	Body           client.SubmitRequest
}

// submit takes a job in. Everything is checked first, and only then anything is kept.
func (s *Server) submit(ctx context.Context, in *submitInput) (*reply[client.SubmitResponse], error) {
	req := &in.Body
	key, known, err := s.keyed(ctx, in.IdempotencyKey, req)
	if err != nil {
		return nil, err
	}
	if known != nil {
		return answer(*known), nil
	}
	room, err := s.admit(ctx, 1)
	if err != nil {
		return nil, err
	}
	defer room.leave()
	var p prepared
	defer p.drop()
	if err := s.prepare(ctx, req, &p); err != nil {
		return nil, err
	}
	if len(p.found.Errors) > 0 {
		return nil, p.found.Errors
	}
	asked := p.job(req)
	asked.Trace = telemetry.Parent(ctx)
	ahead, err := s.ahead(ctx, *req)
	if err != nil {
		return nil, err
	}
	e := scu.Submission(asked, time.Now().Add(-ahead))
	if err := s.o.Broker.CheckSize(e); err != nil {
		return nil, err
	}
	if err := p.keep(ctx); err != nil {
		return nil, err
	}
	publish, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime)
	defer cancel()
	out, err := key.submit(publish, e, room)
	if err != nil {
		return nil, err
	}
	return answer(*out), nil
}

// ahead is how far this clock is ahead of the log's; it is asked for if a job has a time.
func (s *Server) ahead(ctx context.Context, jobs ...client.SubmitRequest) (time.Duration, error) {
	if !slices.ContainsFunc(jobs, func(r client.SubmitRequest) bool { return r.NotBefore != nil }) {
		return 0, nil
	}
	logs, err := s.o.Broker.Time(ctx)
	return time.Since(logs), err
}

// utc is a time in the one zone of the log; nil stays nil.
func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// submitted is the answer to a submission, made of the job in its first entry.
func submitted(j scu.Job) *client.SubmitResponse {
	return &client.SubmitResponse{
		JobID: j.ID, Status: j.Status, Message: fmt.Sprintf("Job %s submitted successfully", j.ID), Warnings: j.Warnings,
	}
}

// prepared is a submission whose model and data were found and checked.
type prepared struct {
	owner   string // whose it will be
	cfg     *scu.Config
	sources scu.Sources
	train   trainData
	val     *source // nil: not found, or not given
	other   *source // likewise: text of another kind
	from    *source // likewise: the adapter to begin from
	found   scu.Validation
}

// job is the job that was asked for.
func (p *prepared) job(req *client.SubmitRequest) scu.Job {
	return scu.Job{
		Name: req.Name, Owner: p.owner, BaseModel: p.cfg.BaseModel, Config: *p.cfg, TrainData: p.sources[0].File, Sources: several(p.sources), ValData: p.valFile(), OtherData: p.otherFile(),
		Class: p.found.Class, Priority: req.Priority, Warnings: p.found.Texts(), NotBefore: utc(req.NotBefore),
		Metadata: req.Metadata, LearningRateMultiplier: req.LearningRateMultiplier,
	}
}

// keep keeps all files.
func (p *prepared) keep(ctx context.Context) error {
	if err := p.train.Keep(ctx); err != nil {
		return err
	}
	for _, data := range []*source{p.val, p.other, p.from} {
		if data != nil {
			if err := data.Keep(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *prepared) drop() {
	p.train.Drop()
	for _, data := range []*source{p.val, p.other, p.from} {
		if data != nil {
			data.Drop()
		}
	}
}

func (p *prepared) valFile() *scu.File   { return fileOf(p.val) }
func (p *prepared) otherFile() *scu.File { return fileOf(p.other) }

// fileOf is the file of a source, nil if there is none.
func fileOf(d *source) *scu.File {
	if d == nil {
		return nil
	}
	return &d.File
}

// prepare checks a submission as far as it gets: the fields, the model's name and the
// data, then, if these are all right, model and data together. What is wrong with the
// job is found; the error is why it couldn't be looked at. The caller drops p.
func (s *Server) prepare(ctx context.Context, req *client.SubmitRequest, p *prepared) (err error) {
	var errs []error
	p.owner = callerOf(ctx).owner
	if p.cfg, err = configOf(req); err != nil {
		errs = append(errs, err)
		p.cfg = &scu.Config{}
	}
	errs = append(errs, checkMetadata(req.Metadata), checkMultiplier(req))
	if p.cfg.BaseModel, err = s.model(req.BaseModel); err != nil {
		errs = append(errs, within("base_model", err))
	}
	if p.sources, p.train, err = s.trainSources(ctx, req.TrainDataPath, req.TrainData); err != nil {
		errs = append(errs, err)
	}
	if req.ValDataPath != "" {
		if p.val, err = s.resolve(ctx, "val_data_path", req.ValDataPath); err != nil {
			errs = append(errs, err)
		}
	}
	if req.OtherDataPath != "" {
		if p.other, err = s.resolve(ctx, "other_data_path", req.OtherDataPath); err != nil {
			errs = append(errs, err)
		}
	}
	if req.FromAdapter != "" {
		if p.from, err = s.openAdapter(ctx, req.FromAdapter); err != nil {
			errs = append(errs, within("from_adapter", err))
		}
	}
	if p.found.Errors = scu.AllErrors(errs...); len(p.found.Errors) > 0 {
		return nil
	}
	if req.Recommend {
		if p.cfg, err = s.recommended(ctx, req, p.cfg.BaseModel, p.sources, p.valFile()); err != nil {
			return err
		}
	}
	p.cfg.TrainDataPath = p.sources[0].Path
	if p.val != nil {
		p.cfg.ValDataPath = p.val.name(p.cfg.ValDataPath)
	}
	if p.other != nil {
		p.cfg.OtherDataPath = p.other.name(req.OtherDataPath)
	}
	if p.from != nil {
		p.cfg.FromAdapter, p.cfg.FromAdapterFile = p.from.name(req.FromAdapter), p.from.File.ID
	}
	return s.check(ctx, func() error {
		p.found = s.o.Preflight(ctx, p.cfg, p.sources, p.valFile())
		if p.other == nil || s.o.CheckData == nil || len(p.found.Errors) > 0 {
			return nil
		}
		other, err := s.o.CheckData(ctx, p.cfg, scu.Sources{{Path: p.cfg.OtherDataPath, File: p.other.File}}, 0)
		if err == nil && other.Error != nil {
			err = other.Error
		}
		if err != nil {
			for _, e := range scu.AllErrors(err) {
				p.found.Errors = append(p.found.Errors, e.At("other_data_path"))
			}
		}
		return nil
	})
}

type validateInput struct {
	Body client.SubmitRequest
}

// validate answers with everything that is to be said of a submission. Nothing is kept.
func (s *Server) validate(ctx context.Context, in *validateInput) (*reply[scu.Report], error) {
	var p prepared
	defer p.drop()
	if err := s.prepare(ctx, &in.Body, &p); err != nil {
		return nil, err
	}
	for _, e := range p.found.Errors {
		if e.Code == scu.CodeInternal || e.Code == scu.CodeUnavailable { // nothing that the job is to blame for
			return nil, e
		}
	}
	return answer(p.found.Report()), nil
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
