package model_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/trainer/model"
)

// lateCopies is a device whose copies beside the work are done as late as they may be, and to which the host gives
// so many buffers.
type lateCopies struct {
	kernels.Device
	host     int
	lent     map[kernels.Buffer]bool
	copies   map[kernels.Buffer]*lateCopy // by both buffers
	queued   int
	unjoined int // copies that were queued again without it
}

type lateCopy struct{ dst, src kernels.Buffer }

func (d *lateCopies) AllocHost(t kernels.DType, n int) (kernels.Buffer, error) {
	if d.host == 0 {
		return nil, fmt.Errorf("the host: %w", kernels.ErrMemory)
	}
	d.host--
	b, err := d.Alloc(t, n)
	d.lent[b] = true
	return b, err
}

func (d *lateCopies) Free(b kernels.Buffer) {
	if d.lent[b] {
		d.host++
		delete(d.lent, b)
	}
	d.Device.Free(b)
}

func (d *lateCopies) CopyBeside(dst, src kernels.Buffer) {
	for _, b := range []kernels.Buffer{dst, src} {
		if d.copies[b] != nil {
			d.unjoined++
		}
	}
	c := &lateCopy{dst, src}
	d.copies[dst], d.copies[src] = c, c
	d.queued++
}

func (d *lateCopies) Join(host kernels.Buffer) {
	c := d.copies[host]
	if c == nil {
		d.unjoined++
		return
	}
	d.Copy(kernels.Matrix(c.dst, 1, c.dst.Len()), kernels.Matrix(c.src, 1, c.src.Len()))
	delete(d.copies, c.dst)
	delete(d.copies, c.src)
}

func (d *lateCopies) ReadBeside(dst []float64, host kernels.Buffer) error {
	d.Join(host)
	return d.ReadF64(dst, host)
}

func newLateCopies(plain kernels.Device, host int) *lateCopies {
	return &lateCopies{Device: plain, host: host, lent: map[kernels.Buffer]bool{}, copies: map[kernels.Buffer]*lateCopy{}}
}

// What blocks put aside comes back as it was: the same bytes, also where the host has room for none or for some of it,
// and with other blocks that compute theirs again. Room for some of it isn't kept.
func TestAsideSameBytes(t *testing.T) {
	for _, family := range families {
		for _, c := range []struct {
			host   int // buffers that there are beside the model
			o      model.WorkspaceOptions
			layers int // that this takes
		}{
			{9, model.WorkspaceOptions{AsideMLP: 2, AsideEvery: 1}, 2},
			{0, model.WorkspaceOptions{AsideMLP: 2, AsideEvery: 1}, 2},
			{1, model.WorkspaceOptions{AsideMLP: 2, AsideEvery: 1}, 2},
			{9, model.WorkspaceOptions{AsideMLP: 2, AsideEvery: 2, RecomputeMLP: 2}, 4},
		} {
			t.Run(fmt.Sprintf("%s, %d buffers, %d blocks again", family, c.host, c.o.RecomputeMLP), func(t *testing.T) {
				plain, err := cpu.New(2)
				must(t, err)
				defer plain.Close()
				dev := newLateCopies(plain, 9)
				r := newRig(t, dev, family, 0.1)
				if len(r.dec.Spec.Layers) < c.layers {
					t.Skip("too few blocks")
				}
				dev.host = c.host
				r.asideTheSame(t, dev, c.o)
				want := len(r.dec.Spec.Layers[0].MLP.Proj) // of the one block that another writes over
				if want > c.host {
					want = 0
				}
				if took := c.host - dev.host; took != want || dev.queued > 0 != (want > 0) {
					t.Errorf("%d buffers of the host's, want %d; %d copies", took, want, dev.queued)
				}
			})
		}
	}
}

// A table that the host has no memory for lies on the device, and the weights say so.
func TestHostRefused(t *testing.T) {
	for _, family := range families {
		for _, host := range []int{0, 9} {
			plain, err := cpu.New(1)
			must(t, err)
			r := newRig(t, newLateCopies(plain, host), family, 0)
			if got, want := r.dec.HostRefused(), host == 0 && !r.dec.Spec.TiedHead; got != want {
				t.Errorf("%s: refused %v, want %v", family, got, want)
			}
			must(t, plain.Close())
		}
	}
}

// Nothing is put aside below the lowest block that is trained.
func TestAsideBelowTheAdapter(t *testing.T) {
	for name, target := range map[string]string{"the upper block": "layers.1.self_attn.q_proj", "the head": "lm_head"} {
		t.Run(name, func(t *testing.T) {
			plain, err := cpu.New(1)
			must(t, err)
			defer plain.Close()
			dev := newLateCopies(plain, 9)
			r := newRig(t, dev, "llama", 0)
			r.adapt(t, scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{target}}, 0)
			r.asideTheSame(t, dev, model.WorkspaceOptions{AsideMLP: 2, AsideEvery: 1})
			if dev.queued > 0 {
				t.Errorf("%d copies", dev.queued)
			}
		})
	}
}

func (r *rig) asideTheSame(t *testing.T, dev *lateCopies, o model.WorkspaceOptions) {
	t.Helper()
	b := testBatch()
	one := r.loss(t, r.workspace(t, false), b)
	want := r.grad(t)
	w := r.workspaceOf(t, o)
	for range 2 {
		two := r.loss(t, w, b)
		if got := r.grad(t); one != two || !slices.Equal(got, want) {
			t.Fatalf("losses %v and %v; gradients equal: %v", one, two, slices.Equal(got, want))
		}
		must(t, r.dec.Stage(w, []model.Batch{b}, nil))
		must(t, r.dec.Loss(context.Background(), w, b)) // which goes back nowhere
	}
	if len(dev.copies) > 0 || dev.unjoined > 0 {
		t.Errorf("%d copies are left, %d weren't joined", len(dev.copies), dev.unjoined)
	}
}

// Blocks between those that put something aside take as long as the copies.
func TestAsideEvery(t *testing.T) {
	for _, c := range []struct {
		name                              string
		hidden, width, heads, kv, dim, of int
		every, most                       int
	}{
		{"llama-1b", 2048, 8192, 32, 8, 64, 16, 5, 4},
		{"llama-3b", 3072, 8192, 24, 8, 128, 28, 4, 7},
		{"llama-8b", 4096, 14336, 32, 8, 128, 32, 3, 11},
		{"a small one", 128, 512, 4, 4, 32, 12, 0, 0},
	} {
		layer := model.Layer{Attn: model.Attention{
			Proj: []model.Linear{{In: c.hidden, Out: c.heads * c.dim}, {In: c.hidden, Out: c.kv * c.dim}, {In: c.hidden, Out: c.kv * c.dim}},
			Out:  model.Linear{In: c.heads * c.dim, Out: c.hidden},
		}, MLP: model.MLP{Proj: []model.Linear{{In: c.hidden, Out: c.width}, {In: c.hidden, Out: c.width}}, Down: model.Linear{In: c.width, Out: c.hidden}}}
		s := &model.Spec{Layers: slices.Repeat([]model.Layer{layer}, c.of)}
		if every, most := s.AsideEvery(), s.MostAside(); every != c.every || most != c.most {
			t.Errorf("%s: every %d, %d at most; want %d, %d", c.name, every, most, c.every, c.most)
		}
	}
}
