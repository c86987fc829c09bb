package model

import (
	"context"
	"fmt"

	"github.com/shannon-control/scu/kernels"
)

// Cache holds one text's keys and values, so that another token costs one row of
// computation instead of all of them.
type Cache struct {
	dec  *Decoder
	work *Workspace
	k, v []kernels.Buffer // for each layer [max, KV heads * dim]
	max  int
	used int
}

// NewCache makes room for a text of up to max tokens.
func (d *Decoder) NewCache(max int) (*Cache, error) {
	if max < 1 || max > d.maxLen {
		return nil, fmt.Errorf("a text of %d tokens on a model that was loaded for %d", max, d.maxLen)
	}
	w, err := d.NewWorkspace(WorkspaceOptions{Batch: 1, Len: max})
	if err != nil {
		return nil, err
	}
	c := &Cache{dec: d, work: w, max: max}
	for i := range d.layers {
		a := &d.layers[i].Attn
		c.k = append(c.k, w.alloc(d.dev.Activations(), max*a.K.N*a.HeadDim))
		c.v = append(c.v, w.alloc(d.dev.Activations(), max*a.V.N*a.HeadDim))
	}
	if w.err != nil {
		w.Close()
		return nil, w.err
	}
	return c, nil
}

// Close frees the memory.
func (c *Cache) Close() { c.work.Close() }

// Len is the number of tokens that the cache holds.
func (c *Cache) Len() int { return c.used }

// Next runs ids as the text's next tokens and returns the logits [Vocab] for the
// token after them.
func (c *Cache) Next(ctx context.Context, ids []int32) ([]float32, error) {
	if c.used+len(ids) > c.max {
		return nil, fmt.Errorf("a cache for %d tokens holds %d and can't take %d more", c.max, c.used, len(ids))
	}
	none := make([]int32, len(ids))
	for i := range none {
		none[i] = -1
	}
	if err := c.dec.stage(c.work, []Batch{{Rows: 1, Len: len(ids), IDs: ids, Targets: none}}, nil, c.used); err != nil {
		return nil, err
	}
	p, err := c.dec.begin(c.work, 0)
	if err != nil {
		return nil, err
	}
	p.start, p.cache = c.used, c
	h, err := p.forward(ctx)
	if err != nil {
		return nil, err
	}
	c.used += len(ids)
	return p.logits(h, []int{len(ids) - 1})
}

// put appends a pass's keys and values to layer i's and returns views of all of them.
func (c *Cache) put(p *pass, i int, k, v kernels.Heads) (allK, allV kernels.Heads) {
	return c.append(p, c.k[i], k), c.append(p, c.v[i], v)
}

func (c *Cache) append(p *pass, buf kernels.Buffer, h kernels.Heads) kernels.Heads {
	all := dense(buf, h.N, h.Dim)
	for n := range h.N {
		p.dev.Copy(
			kernels.Mat{Buf: buf, Off: c.used*all.RowStride + n*all.HeadStride, Rows: p.rows, Cols: h.Dim, Stride: all.RowStride},
			kernels.Mat{Buf: h.Buf, Off: h.Off + n*h.HeadStride, Rows: p.rows, Cols: h.Dim, Stride: h.RowStride})
	}
	return all
}
