package trainer

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/estimate"
)

// readData is what a run's settings on data become, as far as files were read.
type readData struct {
	trainOdd [][]string // sentences on each source; nil if they weren't read
	valOdd   []string   // sentences on the validation data

	all          bool // everything was read, and the rest is known
	work         estimate.Work
	sources      []scu.SourceReport
	shared       int // documents of the validation data that are in the training data too
	valDocuments int
}

// read reads training data, unless it is larger than maxChecked, and the validation
// data, which may be nil, unless that is. What was read before isn't read again. With an
// error of one of the two it tells of the other.
func (p *Preflight) read(ctx context.Context, m *base.Model, cfg *scu.Config, train scu.Sources, val *scu.File) (out readData, err error) {
	key := dataKey(m, cfg, train, val)
	if known, ok := p.known.get(key); ok {
		return known, nil
	}
	cache := data.Cache{Dir: p.CacheDir, MaxBytes: p.CacheBytes}
	var set, valSet *data.Dataset
	var errs []error
	if train.Size() <= maxChecked {
		var reports []*data.Report
		if set, reports, err = openSources(ctx, p.Files, train, m, cfg, cache); err != nil {
			errs = append(errs, err)
		} else {
			defer set.Close()
		}
		for _, report := range reports {
			out.trainOdd = append(out.trainOdd, report.Warnings())
		}
	}
	if val != nil && val.Size <= maxChecked {
		var report *data.Report
		if valSet, report, err = openData(ctx, p.Files, *val, m, cfg, cache); err != nil {
			errs = append(errs, base.Within(dataFields[1], err))
		} else {
			defer valSet.Close()
			out.valOdd = report.Warnings()
		}
	}
	if len(errs) > 0 {
		return out, scu.Join(errs...)
	}
	if set != nil && (val == nil || valSet != nil) {
		if err := out.add(set, valSet, cfg); err != nil {
			return out, err
		}
	}
	p.known.put(key, out)
	return out, nil
}

// add adds what all data is together; val may be nil.
func (r *readData) add(train, val *data.Dataset, cfg *scu.Config) (err error) {
	if r.work, err = estimate.WorkOf(train, val, cfg); err != nil {
		return err
	}
	r.all, r.sources = true, train.Sources()
	if val != nil {
		r.shared, r.valDocuments = data.Shared(train, val), val.Documents()
	}
	return nil
}

// dataKey names what readData depends on, all of it by content.
func dataKey(m *base.Model, cfg *scu.Config, train scu.Sources, val *scu.File) string {
	type file struct {
		ID, Name string // the name's ending may tell the format
		Share    float64
	}
	files := make([]file, len(train))
	for i, x := range train {
		files[i] = file{x.File.ID, x.File.Name, x.Share}
	}
	held := file{}
	if val != nil {
		held = file{ID: val.ID, Name: val.Name}
	}
	key, err := json.Marshal([]any{m.TokenizerID, m.EOS, m.BOS, files, held,
		cfg.BlockSize, cfg.TextDocuments, cfg.Packing, cfg.TrainOn, cfg.ValFraction, cfg.Seed})
	if err != nil {
		panic(err) // plain data
	}
	return string(key)
}

// maxKnown bounds the data that is remembered, some kB each.
const maxKnown = 1024

// knownData remembers what data became; of too much, that which came first is forgotten.
// Its zero value is empty. It is safe for concurrent use.
type knownData struct {
	mu    sync.Mutex
	data  map[string]readData
	order []string // as they came
}

func (k *knownData) get(key string) (readData, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.data[key]
	return r, ok
}

func (k *knownData) put(key string, r readData) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.data == nil {
		k.data = map[string]readData{}
	}
	if _, ok := k.data[key]; !ok {
		if len(k.order) == maxKnown {
			delete(k.data, k.order[0])
			k.order = k.order[1:]
		}
		k.order = append(k.order, key)
	}
	k.data[key] = r
}
