package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// perRun is how long the submission of one run of a comparison may take.
const perRun = time.Second

type comparisonInput struct {
	ID string `path:"id" doc:"The comparison's id"`
}

type compareInput struct {
	Body client.ComparisonRequest
}

// compare takes a comparison in. It is checked whole, each setting as a job is, and only
// then anything is kept.
func (s *Server) compare(ctx context.Context, in *compareInput) (*reply[scu.ComparisonReport], error) {
	req := &in.Body
	body, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	c := scu.Comparison{
		ID: scu.ComparisonID(callerOf(ctx).owner, req.Name), Name: req.Name, CreatedAt: time.Now().UTC(), Request: hex.EncodeToString(sum[:]),
		Common: req.ConfigOverrides, Settings: req.Settings, Seeds: req.Seeds,
	}
	if req.Name != "" {
		switch old, err := s.o.Broker.Comparison(ctx, c.ID); {
		case err == nil && old.Request != c.Request:
			return nil, scu.Errorf(scu.CodeConflict, "another comparison is called %.200q", req.Name).At("name").WithHint("give another name, or none")
		case err == nil:
			return s.resumed(ctx, c.ID)
		case scu.CodeOf(err) != scu.CodeNotFound:
			return nil, err
		}
	}
	if len(c.Seeds) == 0 {
		c.Seeds = scu.SeedList(3)
	}
	drawn, err := req.Space.Expand(req.Samples, req.SampleSeed)
	if err != nil {
		return nil, err
	}
	c.Settings = append(c.Settings, drawn...)
	var p prepared
	defer p.drop()
	if err := s.prepareComparison(ctx, req, &c, &p); err != nil {
		return nil, err
	}
	room, err := s.admit(ctx, len(c.Runs))
	if err != nil {
		return nil, err
	}
	defer room.leave()
	if err := p.keep(ctx); err != nil {
		return nil, err
	}
	if err := s.o.Broker.CreateComparison(ctx, c); err != nil {
		return nil, err
	}
	if err := s.submitRuns(ctx, &c, room); err != nil {
		return nil, err
	}
	return s.comparisonReport(ctx, c)
}

// prepareComparison finds and checks a comparison's model and data, and each setting on
// them, and plans the runs. The caller drops p.
func (s *Server) prepareComparison(ctx context.Context, req *client.ComparisonRequest, c *scu.Comparison, p *prepared) error {
	job := client.SubmitRequest{
		BaseModel: req.BaseModel, TrainDataPath: req.TrainDataPath, TrainData: req.TrainData, ValDataPath: req.ValDataPath, OtherDataPath: req.OtherDataPath,
		FromAdapter: req.FromAdapter, ConfigOverrides: req.ConfigOverrides, Priority: req.Priority, Name: req.Name,
	}
	if err := s.prepare(ctx, &job, p); err != nil {
		return err
	}
	if len(p.found.Errors) > 0 {
		return p.found.Errors
	}
	c.Template = p.job(&job)
	if err := c.Check(); err != nil {
		return err
	}
	classes := make([]string, len(c.Settings))
	var errs []error
	for i := range c.Settings {
		cfg, err := c.Config(i, c.Seeds[0])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = s.check(ctx, func() error {
			found := s.o.Preflight(ctx, &cfg, p.sources, p.valFile())
			classes[i] = found.Class
			for _, e := range found.Errors {
				errs = append(errs, e.At(strings.TrimSuffix(fmt.Sprintf("settings[%d].config_overrides.%s", i, e.Field), ".")))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := scu.Join(errs...); err != nil {
		return err
	}
	c.Plan(classes)
	for i := range c.Runs {
		j, err := c.Job(i)
		if err != nil {
			return err
		}
		if err := s.o.Broker.CheckSize(scu.Submission(j, c.CreatedAt)); err != nil {
			return err
		}
	}
	return nil
}

// submitRuns submits the jobs of a comparison that aren't there. It runs on though the
// client leaves; if it is broken off, resume submits the rest.
func (s *Server) submitRuns(ctx context.Context, c *scu.Comparison, room *admission) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime+time.Duration(len(c.Runs))*perRun)
	defer cancel()
	for i := range c.Runs {
		j, err := c.Job(i)
		if err != nil {
			return err
		}
		room.sends(1)
		seq, err := s.o.Broker.Submit(ctx, scu.Submission(j, time.Now()))
		if err == nil {
			room.took(seq)
		} else if scu.CodeOf(err) != scu.CodeConflict { // a conflict: it is there
			return err
		}
	}
	return nil
}

type listComparisonsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many"`
}

func (s *Server) listComparisons(ctx context.Context, in *listComparisonsInput) (*reply[client.ComparisonList], error) {
	all, err := s.o.Broker.Comparisons(ctx)
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	all = slices.DeleteFunc(all, func(c scu.Comparison) bool { return !who.sees(c.Template.Owner) })
	all = all[:min(len(all), in.Limit)]
	l := client.ComparisonList{Comparisons: make([]client.ComparisonSummary, len(all)), Count: len(all)}
	for i, c := range all {
		names := make([]string, len(c.Settings))
		for k, x := range c.Settings {
			names[k] = x.Name
		}
		l.Comparisons[i] = client.ComparisonSummary{
			ID: c.ID, Name: c.Name, Owner: c.Template.Owner, CreatedAt: c.CreatedAt.Format(time.RFC3339Nano), BaseModel: c.Template.BaseModel,
			Settings: names, Seeds: c.Seeds, Runs: len(c.Runs), Cancelled: c.Cancelled,
		}
	}
	return answer(l), nil
}

// findComparison returns a comparison that the caller sees.
func (s *Server) findComparison(ctx context.Context, id string) (scu.Comparison, error) {
	c, err := s.o.Broker.Comparison(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound || err == nil && !callerOf(ctx).sees(c.Template.Owner) {
		return scu.Comparison{}, scu.Errorf(scu.CodeNotFound, "no comparison %.64q", id)
	}
	return c, err
}

func (s *Server) comparison(ctx context.Context, in *comparisonInput) (*reply[scu.ComparisonReport], error) {
	c, err := s.findComparison(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.comparisonReport(ctx, c)
}

// comparisonJobs are the jobs of a comparison's runs; nil for one that isn't there.
func (s *Server) comparisonJobs(ctx context.Context, c *scu.Comparison) ([]*scu.Job, error) {
	jobs := make([]*scu.Job, len(c.Runs))
	for i, r := range c.Runs {
		j, _, err := s.o.Broker.Job(ctx, r.JobID)
		switch {
		case err == nil:
			jobs[i] = &j
		case scu.CodeOf(err) != scu.CodeNotFound:
			return nil, err
		}
	}
	return jobs, nil
}

func (s *Server) comparisonReport(ctx context.Context, c scu.Comparison) (*reply[scu.ComparisonReport], error) {
	jobs, err := s.comparisonJobs(ctx, &c)
	if err != nil {
		return nil, err
	}
	return answer(c.Report(jobs)), nil
}

// cancelComparison cancels all jobs of a comparison that have not ended.
func (s *Server) cancelComparison(ctx context.Context, in *comparisonInput) (*reply[scu.ComparisonReport], error) {
	if _, err := s.findComparison(ctx, in.ID); err != nil {
		return nil, err
	}
	c, err := s.o.Broker.ChangeComparison(ctx, in.ID, func(c *scu.Comparison) error {
		c.Cancelled = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, r := range c.Runs {
		_, _, err := s.o.Broker.Cancel(ctx, r.JobID)
		if code := scu.CodeOf(err); err != nil && code != scu.CodeNotFound && code != scu.CodeConflict { // conflict: it has ended
			return nil, err
		}
	}
	return s.comparisonReport(ctx, c)
}

func (s *Server) resumeComparison(ctx context.Context, in *comparisonInput) (*reply[scu.ComparisonReport], error) {
	return s.resumed(ctx, in.ID)
}

// resumed goes on with a comparison: what failed, was cancelled or deleted begins anew,
// what was never submitted is.
func (s *Server) resumed(ctx context.Context, id string) (*reply[scu.ComparisonReport], error) {
	c, err := s.findComparison(ctx, id)
	if err != nil {
		return nil, err
	}
	jobs, err := s.comparisonJobs(ctx, &c)
	if err != nil {
		return nil, err
	}
	again := 0                // runs that are submitted
	over := map[string]bool{} // jobs that can't come to anything any more
	for i, j := range jobs {
		if j == nil {
			_, err := s.o.Broker.First(ctx, c.Runs[i].JobID)
			if err != nil && scu.CodeOf(err) != scu.CodeNotFound {
				return nil, err
			}
			over[c.Runs[i].JobID] = err == nil // deleted; otherwise never submitted
			again++
		} else if j.Status.Ended() && j.Status != scu.Completed {
			over[j.ID] = true
			again++
		}
	}
	room, err := s.admit(ctx, again)
	if err != nil {
		return nil, err
	}
	defer room.leave()
	c, err = s.o.Broker.ChangeComparison(ctx, id, func(c *scu.Comparison) error {
		c.Cancelled = false
		for i := range c.Runs {
			if over[c.Runs[i].JobID] {
				c.Renew(i)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.submitRuns(ctx, &c, room); err != nil {
		return nil, err
	}
	return s.comparisonReport(ctx, c)
}
