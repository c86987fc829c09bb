//go:build cuda && cgo && linux

package cuda

import (
	"errors"

	"github.com/shannon-control/scu/kernels/cuda/driver"
)

// repeats are recorded runs of operations, by their keys. A run is recorded when it comes for the second time: the
// first has loaded its kernels, chosen its algorithms and made scratch memory large enough. Records hold addresses, so
// they all end when any memory is given back.
type repeats struct {
	known     map[string]driver.Record
	seen      map[string]bool
	state     int64 // of the memory, when those known were made
	recording bool
	spoilt    bool // what is being recorded needed memory, or met what can't be recorded
}

// Rows of many lengths make many keys: what comes after the most is run as it is.
const (
	mostRecords = 32
	mostSeen    = 1024
)

// Repeat queues what f queues, from a record if it has come before under this key.
func (d *device) Repeat(key string, f func() error) error {
	r := &d.repeats
	if d.failed() || r.recording {
		return f()
	}
	if state := d.state.Load(); r.state != state {
		d.dropRecords()
		r.state = state
	}
	if record, ok := r.known[key]; ok {
		d.fail(d.ctx.Play(record))
		return nil
	}
	if !r.seen[key] || len(r.known) >= mostRecords {
		if r.seen == nil || len(r.seen) >= mostSeen {
			r.seen = map[string]bool{}
		}
		if err := f(); err != nil {
			return err
		}
		r.seen[key] = true
		return nil
	}
	record, err := d.record(f)
	switch {
	case err != nil:
		return err
	case r.spoilt: // nothing of it was done
		delete(r.seen, key)
		return f()
	case d.failed():
		return nil
	}
	if r.known == nil {
		r.known = map[string]driver.Record{}
	}
	r.known[key] = record
	d.fail(d.ctx.Play(record))
	return nil
}

// record records what f queues; there is a record if there is no error, f wasn't spoilt and the device hasn't failed.
func (d *device) record(f func() error) (driver.Record, error) {
	r := &d.repeats
	d.queue.Lock() // others' copies aren't part of it
	defer d.queue.Unlock()
	if err := d.ctx.BeginRecord(); err != nil {
		d.fail(err)
		return driver.Record{}, nil
	}
	r.recording, r.spoilt = true, false
	err := f()
	r.recording = false
	record, failed := d.ctx.EndRecord()
	d.fail(failed)
	d.forgive()
	if err != nil || r.spoilt || d.failed() {
		d.fail(d.ctx.Drop(record))
		record = driver.Record{}
	}
	return record, err
}

// forgive takes a failure back if it came of recording alone: of memory that wasn't there, or of another device's
// work on the same GPU that waits for all that goes on there.
func (d *device) forgive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var refused driver.Error
	if d.err != nil && (d.repeats.spoilt || !errors.As(d.err, &refused) || refused.OfRecording()) {
		d.repeats.spoilt, d.err = true, nil
	}
}

// dropRecords forgets all records, once none is being played.
func (d *device) dropRecords() {
	r := &d.repeats
	if len(r.known) == 0 {
		return
	}
	d.fail(d.ctx.Wait())
	for _, record := range r.known {
		d.fail(d.ctx.Drop(record))
	}
	r.known = nil
}
