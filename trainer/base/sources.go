package base

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/data"
)

// Sources are the files of a job's training data, and where each lies here.
type Sources struct {
	scu.Sources
	Local []string // paths
}

// OpenSources reads training data into blocks for this model, with a report of each
// source; see OpenData.
func (b *Model) OpenSources(ctx context.Context, sources Sources, cfg *scu.Config, cache data.Cache) (_ *data.Dataset, _ []*data.Report, err error) {
	var sets []*data.Dataset
	defer func() {
		if err != nil {
			for _, d := range sets {
				d.Close()
			}
		}
	}()
	var errs []error
	reports := make([]*data.Report, len(sources.Sources))
	for i, x := range sources.Sources {
		set, report, err := b.OpenData(ctx, sources.Local[i], x.File.Name, cfg, cache, x.File.ID)
		if err != nil {
			errs = append(errs, Within(sources.Field(i), err))
			continue
		}
		sets, reports[i] = append(sets, set), report
	}
	if len(errs) > 0 {
		return nil, nil, scu.Join(errs...)
	}
	mixed, err := data.Mix(sets, sources.Shares())
	return mixed, reports, err
}

// ReportSources describes each source of a Dataset.
func ReportSources(sources scu.Sources, d *data.Dataset) []scu.SourceReport {
	reports := d.Sources()
	for i, x := range sources {
		reports[i].Name, reports[i].Share = x.File.Name, x.Share
	}
	return reports
}

// CheckSources is CheckData for all of a job's training data. Of several sources each is
// told for itself, and the blocks that are shown are the first's.
func (b *Model) CheckSources(ctx context.Context, sources Sources, cfg scu.Config, preview int) (out scu.DataCheck, err error) {
	var refused []error
	for i, x := range sources.Sources {
		check, err := b.CheckData(ctx, sources.Local[i], x.File.Name, cfg, preview)
		if err != nil || len(sources.Sources) == 1 {
			return check, Within(sources.Field(i), err)
		}
		if check.Error != nil {
			refused = append(refused, Within(sources.Field(i), check.Error))
		}
		if i == 0 {
			out.BlockSize, out.Preview = check.BlockSize, check.Preview
		}
		out.Sources = append(out.Sources, scu.SourceCheck{SourceReport: scu.SourceReport{Name: x.File.Name, Share: x.Share}, Report: check.Report})
		out.Report.Add(check.Report)
	}
	if len(refused) > 0 {
		out.Error = scu.AllErrors(refused...)[0]
		return out, nil
	}
	cfg.BlockSize = out.BlockSize
	set, _, err := b.OpenSources(ctx, sources, &cfg, data.Cache{})
	if err != nil {
		if e := scu.AsError(err); e.Code == scu.CodeInvalid {
			out.Error, err = e, nil
		}
		return out, err
	}
	defer set.Close()
	for i, x := range ReportSources(sources.Sources, set) {
		out.Sources[i].SourceReport = x
	}
	out.EpochTokens = set.EpochTokens()
	return out, nil
}
