package trainer

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
)

// localSources finds the stored files of training data.
func localSources(ctx context.Context, files scu.LocalFiles, sources scu.Sources) (base.Sources, error) {
	local := make([]string, len(sources))
	for i, x := range sources {
		path, err := files.Local(ctx, x.File.ID)
		if err != nil {
			return base.Sources{}, base.Within(sources.Field(i), err)
		}
		local[i] = path
	}
	return base.Sources{Sources: sources, Local: local}, nil
}

// openSources reads stored training data into blocks for a model, with a report of each
// source.
func openSources(ctx context.Context, files scu.LocalFiles, sources scu.Sources, m *base.Model, cfg *scu.Config, cache data.Cache) (*data.Dataset, []*data.Report, error) {
	local, err := localSources(ctx, files, sources)
	if err != nil {
		return nil, nil, err
	}
	return m.OpenSources(ctx, local, cfg, cache)
}

// CheckData reports what training data becomes; see base.Model.CheckSources.
func (p *Preflight) CheckData(ctx context.Context, cfg *scu.Config, sources scu.Sources, preview int) (out scu.DataCheck, err error) {
	if size := sources.Size(); size > maxChecked {
		return out, scu.Errorf(scu.CodeTooLarge, "at most %d bytes are checked on request, and there are %d", maxChecked, size).
			At(sources.Field(0)).WithHint("scu data check reads files of any size")
	}
	m, err := p.Bases.Describe(ctx, cfg.BaseModel)
	if err != nil {
		return out, err
	}
	defer m.Close()
	local, err := localSources(ctx, p.Files, sources)
	if err != nil {
		return out, err
	}
	return m.CheckSources(ctx, local, *cfg, preview)
}
