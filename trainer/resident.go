package trainer

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/model"
)

// resident is what stays from one job to the next: the device, and one base model
// with its weights on it. The next job on the same base starts without loading it,
// to the same bytes: nothing of a job is kept. It serves one goroutine at a time;
// held may be called from any.
type resident struct {
	kind  devices.Kind
	cache string // the folder for what the device measures of itself; "": it doesn't

	dev     kernels.Device
	opened  kernels.Options
	base    *base.Model
	baseID  string // its fingerprint
	weights *model.Weights
	nf4     bool // weights were quantised
	block   int  // the longest row that weights were loaded for
	bytes   atomic.Int64
}

// model opens the base model in a folder by open, unless it is open and its files are
// still the same, and gives its fingerprint. Another that was open is dropped first.
func (k *resident) model(dir string, open func(dir string) (*base.Model, error)) (*base.Model, string, error) {
	if k.base != nil && k.base.Dir == dir && k.base.Unchanged() {
		return k.base, k.baseID, nil
	}
	k.drop()
	m, err := open(dir)
	if err != nil {
		return nil, "", err
	}
	id, err := m.Fingerprint()
	if err != nil {
		m.Close()
		return nil, "", err
	}
	k.base, k.baseID = m, id
	return m, id, nil
}

// load puts the model's weights on a device of the precision that a job asks for,
// unless they are there, for rows as long as its blocks.
func (k *resident) load(cfg scu.Config) (kernels.Device, *model.Weights, error) {
	o, nf4 := k.kind.Options(cfg.Half()), k.kind.NF4 && cfg.Use4Bit
	o.Cache = k.cache
	if k.dev != nil && k.opened != o {
		k.unload()
		k.dev.Close()
		k.dev = nil
	}
	if k.dev == nil {
		dev, err := k.kind.New(o)
		if err != nil {
			return nil, nil, err
		}
		k.dev, k.opened = dev, o
	}
	if k.weights != nil && k.nf4 == nf4 && k.block == cfg.BlockSize {
		return k.dev, k.weights, nil
	}
	k.unload()
	w, err := model.Load(k.dev, k.base.Spec, k.base.Weights, cfg.BlockSize, model.InNF4(nf4))
	if err != nil {
		return nil, nil, base.Within("base_model", err)
	}
	k.weights, k.nf4, k.block = w, nf4, cfg.BlockSize
	k.count()
	return k.dev, w, nil
}

// held is the device memory that the weights take, in bytes: what the next job can
// have too, if it is on the same base, or once they are dropped.
func (k *resident) held() int64 { return k.bytes.Load() }

func (k *resident) count() {
	var now int64
	if k.dev != nil {
		now, _ = k.dev.Allocated()
	}
	k.bytes.Store(now)
}

// settle decides after a job what stays: nothing after a fault of the trainer or of
// the device, for the next job to trip over, or when less memory is available than
// the weights take.
func (k *resident) settle(err error, available int64) {
	fault := scu.CodeOf(err) == scu.CodeInternal && !errors.Is(err, context.Canceled) || errors.Is(err, kernels.ErrLost)
	short := scu.CodeOf(err) == scu.CodeMemory || available > 0 && available < k.held()
	if fault || short {
		k.close()
	}
}

// unload takes the weights from the device.
func (k *resident) unload() {
	if k.weights != nil {
		k.weights.Close()
		k.weights = nil
		k.count()
	}
}

// drop closes the model, of which the weights may be a view.
func (k *resident) drop() {
	k.unload()
	if k.base != nil {
		k.base.Close()
		k.base, k.baseID = nil, ""
	}
}

// close gives everything back; a later job opens and loads anew.
func (k *resident) close() {
	k.drop()
	if k.dev != nil {
		k.dev.Close()
		k.dev = nil
	}
	k.count()
}
