package data

import "github.com/shannon-control/scu"

// Plan says what each optimiser step trains on. An epoch is every block once, or of
// several files with shares so many of each as Mix says, in an order that depends on
// the seed and the epoch alone; a step takes the next
// BatchSize x Accumulation blocks of it, and the last step of an epoch what is
// left. Any step can be asked for at any time. It is not safe for concurrent use.
type Plan struct {
	set    *Dataset
	c      PlanConfig
	blocks int // of an epoch
	size   int // blocks of a full step

	order  []int32 // of the epoch asked for last
	tokens []int64 // of all blocks before each place of order, those of earlier epochs too
	epoch  int     // that epoch; -1: none yet
}

// PlanConfig are the settings of a Plan.
type PlanConfig struct {
	BatchSize    int // rows of a micro-batch
	Accumulation int // micro-batches of a step
	Epochs       int // passes over the blocks
	Steps        int // where not 0, the number of steps, before Epochs
	Seed         int64
}

// NewPlan plans training on set.
func NewPlan(set *Dataset, c PlanConfig) (*Plan, error) {
	if set.EpochBlocks() == 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "there is no block to train on").At("train_data_path")
	}
	if c.BatchSize < 1 || c.Accumulation < 1 || c.Steps < 0 || c.Steps == 0 && c.Epochs < 1 {
		return nil, scu.Errorf(scu.CodeInvalid, "no plan for batches of %d, %d of them a step, %d epochs, %d steps",
			c.BatchSize, c.Accumulation, c.Epochs, c.Steps)
	}
	return &Plan{set: set, c: c, blocks: set.EpochBlocks(), size: c.BatchSize * c.Accumulation, epoch: -1}, nil
}

// StepsPerEpoch is ceil(blocks / (batch size x accumulation)).
func (p *Plan) StepsPerEpoch() int { return (p.blocks + p.size - 1) / p.size }

// Steps is the number of optimiser steps of the whole run.
func (p *Plan) Steps() int {
	if p.c.Steps > 0 {
		return p.c.Steps
	}
	return p.c.Epochs * p.StepsPerEpoch()
}

// Step gives the micro-batches of step s, from 0.
func (p *Plan) Step(s int) ([]Batch, error) {
	which := p.blocksOf(s)
	micros := make([]Batch, 0, p.c.Accumulation)
	for from := 0; from < len(which); from += p.c.BatchSize {
		b, err := p.set.batch(which[from:min(from+p.c.BatchSize, len(which))])
		if err != nil {
			return nil, err
		}
		micros = append(micros, b)
	}
	return micros, nil
}

// Epoch is the passes over the data after step s: 1.5 is half way through the
// second.
func (p *Plan) Epoch(s int) float64 {
	_, to := p.within(s)
	return float64(s/p.StepsPerEpoch()) + float64(to)/float64(p.blocks)
}

// Tokens is what was trained on after step s, all of its blocks included.
func (p *Plan) Tokens(s int) int64 {
	p.blocksOf(s)
	_, to := p.within(s)
	return p.tokens[to]
}

// within gives the places of step s in its epoch's order, from and to.
func (p *Plan) within(s int) (from, to int) {
	from = s % p.StepsPerEpoch() * p.size
	return from, min(from+p.size, p.blocks)
}

// blocksOf gives the blocks of step s.
func (p *Plan) blocksOf(s int) []int32 {
	if epoch := s / p.StepsPerEpoch(); epoch != p.epoch {
		blocks := p.set.epoch(p.c.Seed, epoch)
		p.order, p.epoch = shuffle(p.blocks, p.c.Seed, uint64(epoch)), epoch
		for i, at := range p.order {
			p.order[i] = blocks[at]
		}
		p.tokens = make([]int64, p.blocks+1)
		p.tokens[0] = p.set.tokensBefore(p.c.Seed, epoch)
		for i, b := range p.order {
			p.tokens[i+1] = p.tokens[i] + int64(p.set.Len(int(b)))
		}
	}
	from, to := p.within(s)
	return p.order[from:to]
}
