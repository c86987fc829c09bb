package trainer

import (
	"context"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/estimate"
)

// bytesPerToken is what a token of text takes, about. shortBlock is the length of the
// blocks that small texts are cut into: of two of them one can be held out.
const (
	bytesPerToken = 4
	shortBlock    = 256
)

// Recommend chooses a job's settings by its model, by its data unless train is nil, and
// by the memory of the trainers. If the model's files can't be reached now, its name
// has to tell its size.
func (p *Preflight) Recommend(ctx context.Context, baseModel string, train scu.Sources, val *scu.File) (r scu.Recommendation, err error) {
	to := p.place(ctx, nil)
	facts := scu.Facts{BaseModel: baseModel, Validation: val != nil, GPUMemory: to.gpuMemory()}
	m, err := p.Bases.Outline(ctx, baseModel)
	if scu.CodeOf(err) == scu.CodeUnavailable {
		if train != nil {
			facts.Tokens = train.Size() / bytesPerToken
		}
		return scu.Recommend(facts), nil
	}
	if err != nil {
		return r, err
	}
	defer m.Close()
	facts.Size = scu.ModelSize{Parameters: m.Parameters(), Source: scu.SizeFromCheckpoint}
	facts.Width, facts.Positions = m.Spec.Hidden, m.Spec.Positions
	facts.Fits = func(c scu.Config) bool {
		modules, err := m.Modules(c.LoRA)
		if err != nil {
			return true // another check tells
		}
		return to.validateMemory(&scu.Validation{}, m, &c, estimate.Work{Longest: c.BlockSize}, modules) == nil
	}
	if train != nil {
		if err := p.measure(ctx, m, &facts, train, val); err != nil {
			return r, err
		}
	}
	return scu.Recommend(facts), nil
}

// measure adds to the facts what is known of the training data; val may be nil.
func (p *Preflight) measure(ctx context.Context, m *base.Model, facts *scu.Facts, train scu.Sources, val *scu.File) error {
	if train.Size() > maxChecked {
		facts.Tokens, facts.Validation = train.Size()/bytesPerToken, true
		return nil
	}
	cfg := scu.DefaultConfig()
	cfg.Packing = scu.PackOff // so that a block is a row
	if err := m.FitBlock(&cfg); err != nil {
		return err
	}
	set, reports, err := openSources(ctx, p.Files, train, m, &cfg, data.Cache{Dir: p.CacheDir, MaxBytes: p.CacheBytes})
	if err != nil {
		return err
	}
	defer set.Close()
	facts.Tokens = set.EpochTokens()
	facts.Validation = facts.Validation || set.Tokens() > 2*shortBlock
	if !slices.ContainsFunc(reports, func(r *data.Report) bool { return r.Rows == 0 }) {
		facts.Longest = set.Longest()
	}
	facts.Blocks = func(c scu.Config) int {
		read, err := p.read(ctx, m, &c, train, val)
		if err != nil || !read.all {
			return estimate.WorkOfTokens(facts.Tokens, &c).Blocks
		}
		return read.work.Blocks
	}
	return nil
}
