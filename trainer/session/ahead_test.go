package session

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/model"
)

// besideHost is a device whose copies to the host are done as late as they may be.
type besideHost struct {
	kernels.Device
	refuses  bool // the host has no memory to spare
	dst, src kernels.Buffer
	begun    int // micro-batches
	read     []int
}

func (d *besideHost) AllocHost(t kernels.DType, n int) (kernels.Buffer, error) {
	if d.refuses {
		return nil, fmt.Errorf("the host: %w", kernels.ErrMemory)
	}
	return d.Alloc(t, n)
}

func (d *besideHost) CopyBeside(dst, src kernels.Buffer) { d.dst, d.src = dst, src }

func (d *besideHost) Join(kernels.Buffer) {
	if d.dst == nil {
		return
	}
	x := make([]float64, d.src.Len())
	if err := d.ReadF64(x, d.src); err != nil {
		panic(err)
	}
	d.WriteF64(d.dst, x)
	d.dst, d.src = nil, nil
}

func (d *besideHost) ReadBeside(dst []float64, host kernels.Buffer) error {
	d.read = append(d.read, d.begun)
	d.Join(host)
	return d.ReadF64(dst, host)
}

func (d *besideHost) Embed(o kernels.Embed) {
	d.begun++
	d.Device.Embed(o)
}

func newBesideHost(t *testing.T, refuses bool, learningRate float64) (*Session, *besideHost) {
	t.Helper()
	plain, err := cpu.New(2)
	must(t, err)
	d := &besideHost{Device: plain, refuses: refuses}
	return newSessionOn(t, d, bookworm, learningRate), d
}

// other is a batch unlike batch.
func other(shift int32) model.Batch {
	b := batch()
	for i := range b.IDs {
		b.IDs[i], b.Targets[i] = (b.IDs[i]+shift)%150, (b.Targets[i]+shift)%150
	}
	return b
}

// A device that computes beside the host has begun with the next step's micro-batches when the figures of one are
// read, and neither the figures nor the weights know it: not with a validation in between, not for other
// micro-batches than were told of, and not where the host has no memory for it.
func TestAhead(t *testing.T) {
	steps := [][]model.Batch{{batch(), other(1)}, {other(2)}, {other(3), other(4)}, {other(5), other(6)}}
	type figures struct {
		results []Result
		losses  []float64
		state   []float32
	}
	train := func(s *Session, next func(i int) []model.Batch) (f figures) {
		for i, micros := range steps {
			r, err := s.Step(t.Context(), micros, next(i))
			must(t, err)
			loss, err := s.Evaluate(t.Context(), func(yield func(data.Batch, error) bool) { yield(data.Batch(other(9)), nil) })
			must(t, err)
			f.results, f.losses = append(f.results, r), append(f.losses, loss)
		}
		f.state = state(t, s)
		return f
	}
	following := func(i int) []model.Batch {
		if i+1 == len(steps) {
			return nil
		}
		return steps[i+1]
	}
	want := train(newSession(t, bookworm, 1e-3), func(int) []model.Batch { return nil })
	for _, c := range []struct {
		name    string
		refuses bool
		next    func(i int) []model.Batch
		begun   []int // micro-batches when the figures of a step are read; a validation is one as well
	}{
		{"ahead", false, following, []int{2 + 1, 3 + 1 + 2, 5 + 2 + 2, 7 + 3}},
		{"not told", false, func(int) []model.Batch { return nil }, []int{2, 3 + 1, 5 + 2, 7 + 3}},
		{"told of others", false, func(int) []model.Batch { return []model.Batch{other(7)} }, []int{2 + 1, 4 + 1 + 1, 7 + 2 + 1, 10 + 3 + 1}},
		{"told of what can't be", false, func(int) []model.Batch { return []model.Batch{} }, []int{2, 3 + 1, 5 + 2, 7 + 3}},
		{"refused by the host", true, following, nil},
	} {
		s, d := newBesideHost(t, c.refuses, 1e-3)
		if got := train(s, c.next); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v\nwant %+v, %v", c.name, got.results, got.losses, want.results, want.losses)
		}
		if !slices.Equal(d.read, c.begun) {
			t.Errorf("%s: %v micro-batches begun, want %v", c.name, d.read, c.begun)
		}
	}
}

// A step that diverges is told of as if nothing had been begun behind it, and moves nothing.
func TestDivergenceAhead(t *testing.T) {
	diverge := func(s *Session, next []model.Batch) error {
		for range 10 {
			before, control := state(t, s), s.Control.State
			if _, err := s.Step(t.Context(), []model.Batch{batch()}, next); err != nil {
				if !slices.Equal(state(t, s), before) || s.Control.State != control {
					t.Error("the step that diverged moved something")
				}
				return err
			}
		}
		t.Fatal("a learning rate of 1e30 doesn't diverge")
		return nil
	}
	s, _ := newBesideHost(t, false, 1e30)
	want, got := diverge(newSession(t, bookworm, 1e30), nil), diverge(s, []model.Batch{other(1), other(2)})
	if !reflect.DeepEqual(scu.AsError(got), scu.AsError(want)) {
		t.Errorf("%v\nwant %v", got, want)
	}
}
