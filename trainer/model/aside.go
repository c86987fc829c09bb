package model

import (
	"errors"
	"slices"

	"github.com/shannon-control/scu/kernels"
)

// What a block's MLP begins with, the results of its first projections, is most of what the block keeps, and isn't
// needed until the backward pass comes to it. So on devices with memory of their own every few blocks may share one
// room for it: each puts its own aside in the host's memory before the next one's, and has it back in time. The
// copies go on beside the work of the blocks between, and change no byte.

// operationsAByte is how many operations a GPU does while its bus carries a byte: an H100 makes some 650e12 a second
// and has a bus of 50e9 bytes, an A100 240e12 and 25e9, an L4 90e12 and 25e9.
const operationsAByte = 13_000

// AsideEvery is how many blocks it takes from one that puts its projections aside to the next, so that the copies take
// no longer than the blocks between; 0 if there are too few blocks for two.
func (s *Spec) AsideEvery() int {
	most, kept := 0, s.KeptByMLP()
	for i := range s.Layers {
		l := &s.Layers[i]
		operations := 0
		for _, x := range slices.Concat(l.Attn.Proj, l.MLP.Proj, []Linear{l.Attn.Out, l.MLP.Down}) {
			operations += 2 * x.In * x.Out
		}
		most = max(most, 1+(kept*operationsAByte+operations-1)/operations)
	}
	if most >= len(s.Layers) {
		return 0
	}
	return most
}

// KeptByMLP is how many bytes in 16 bits a block puts aside for each token.
func (s *Spec) KeptByMLP() (most int) {
	for i := range s.Layers {
		kept := 0
		for _, x := range s.Layers[i].MLP.Proj {
			kept += 2 * x.Out
		}
		most = max(most, kept)
	}
	return most
}

// MostAside is how many blocks can share the room that they put their projections aside from; 0 if it isn't two.
func (s *Spec) MostAside() int {
	every := s.AsideEvery()
	if every == 0 {
		return 0
	}
	return (len(s.Layers) + every - 1) / every
}

// sharing is how a block shares the room for what its MLP begins with.
type sharing int

const (
	keeps      sharing = iota // it has its own
	putsAside                 // with blocks that put theirs aside
	makesAgain                // with blocks that compute theirs again
)

// sharing is that of each block. Those that nothing goes back to put nothing aside.
func (d *Decoder) sharing(o WorkspaceOptions) []sharing {
	shares := make([]sharing, len(d.layers))
	for n := range o.AsideMLP {
		if i := d.lowest + n*o.AsideEvery; i < len(shares) {
			shares[i] = putsAside
		}
	}
	for i, n := len(shares)-1, o.RecomputeMLP; i >= 0 && n > 0; i-- {
		if shares[i] == keeps {
			shares[i] = makesAgain
			n--
		}
	}
	return shares
}

// shareRoom gives a block, whose state is s, the room of the one below, which puts what it has there aside or, if the
// host has no memory for that, makes it again.
func (w *Workspace) shareRoom(s, below *layerState) {
	s.mlp, s.over = below.mlp, below
	host, ok := w.dev.(kernels.HostMemory)
	if !ok {
		below.lendsMLP = true
		return
	}
	had := len(w.aside)
	for _, b := range s.mlp {
		if b == nil || w.err != nil {
			below.aside = append(below.aside, nil)
			continue
		}
		to, err := host.AllocHost(b.DType(), b.Len())
		switch {
		case errors.Is(err, kernels.ErrMemory): // so that what there was for the others isn't needed
			for _, b := range w.aside[had:] {
				w.dev.Free(b)
			}
			w.aside, below.aside, below.lendsMLP = w.aside[:had], nil, true
			return
		case err != nil:
			w.err = err
			return
		}
		w.aside, below.aside = append(w.aside, to), append(below.aside, to)
	}
}

// putAside queues the copies of what the block's MLP begins with, which the next block of those that share the room
// may write over after awaitCopies.
func (p *pass) putAside(s *layerState) {
	if p.goesBack {
		s.eachAside(func(b, host kernels.Buffer) { p.dev.(kernels.HostMemory).CopyBeside(host, b) })
	}
}

// bringBack queues the copies to the room, which the block above has done with.
func (p *pass) bringBack(s *layerState) {
	if s != nil {
		s.eachAside(func(b, host kernels.Buffer) { p.dev.(kernels.HostMemory).CopyBeside(b, host) })
	}
}

// awaitCopies has the work go on when the copies of what a block put aside, or has back, are done.
func (p *pass) awaitCopies(s *layerState) {
	if s != nil && p.goesBack {
		s.eachAside(func(_, host kernels.Buffer) { p.dev.(kernels.HostMemory).Join(host) })
	}
}

func (s *layerState) eachAside(f func(b, host kernels.Buffer)) {
	for i, host := range s.aside {
		if host != nil {
			f(s.mlp[i], host)
		}
	}
}

// settle waits for the copies of a pass that broke off with err, which later passes know nothing of.
func (w *Workspace) settle(err error) error {
	if err != nil && len(w.aside) > 0 {
		return errors.Join(err, w.dev.Sync())
	}
	return err
}
