package estimate

import (
	"fmt"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/data"
)

// Work is what a run goes through in one epoch: its blocks for training and for
// validation, and their tokens.
type Work struct {
	Documents         int // to train on; 0: not known
	Blocks, ValBlocks int
	Tokens, ValTokens int64
	Longest           int // tokens of the longest block
}

// WorkOf is the work of a run on data; val may be nil, and a share of train is
// then held out.
func WorkOf(train, val *data.Dataset, cfg *scu.Config) (Work, error) {
	if val == nil {
		var err error
		if train, val, err = train.Split(cfg.ValFraction, cfg.Seed); err != nil {
			return Work{}, err
		}
	}
	return Work{Documents: train.Documents(), Blocks: train.EpochBlocks(), Tokens: train.EpochTokens(), ValBlocks: val.Blocks(), ValTokens: val.Tokens(),
		Longest: max(train.Longest(), val.Longest())}, nil
}

// WorkOfTokens is WorkOf for data that is known by its number of tokens alone.
func WorkOfTokens(tokens int64, cfg *scu.Config) Work {
	size := int64(cfg.BlockSize)
	blocks := int((tokens + size - 1) / size)
	held := data.HeldOut(blocks, cfg.ValFraction)
	w := Work{Blocks: blocks - held, ValBlocks: held, ValTokens: int64(held) * size, Longest: int(min(tokens, size))}
	w.Tokens = tokens - w.ValTokens
	return w
}

// fewSteps is the number of optimiser steps below which a run teaches next to
// nothing: warmup takes some of them, and each changes a weight by the learning rate
// at most. usefulSteps is what to aim for.
const (
	fewSteps    = 10
	usefulSteps = 100
)

// Warnings warns of a run that is too short to teach anything, unless the user set the
// number of steps.
func (w Work) Warnings(cfg *scu.Config) []string {
	steps := w.Steps(cfg)
	if cfg.Steps != nil || steps >= fewSteps || w.Blocks == 0 {
		return nil
	}
	of := ""
	if w.Documents > 0 {
		of = fmt.Sprintf("%s in ", scu.Counted(w.Documents, "document"))
	}
	epochs := min((usefulSteps+w.stepsPerEpoch(cfg)-1)/w.stepsPerEpoch(cfg), 10000)
	way := fmt.Sprintf("set epochs to about %d", epochs)
	if w.Blocks > 1 && cfg.BatchSize*cfg.GradientAccumulationSteps > 1 {
		way += fmt.Sprintf(", or batch_size to 1 (now %d blocks a step)", cfg.BatchSize*cfg.GradientAccumulationSteps)
	}
	if cfg.BlockSize > 512 {
		way += fmt.Sprintf(", or block_size to 512 (now %d)", cfg.BlockSize)
	}
	return []string{fmt.Sprintf("%s%s make %s in all, too few to learn from: %s", of, scu.Counted(w.Blocks, "block"), scu.Counted(steps, "optimiser step"), way)}
}

// stepsPerEpoch is the number of optimiser steps of one pass over the data.
func (w Work) stepsPerEpoch(cfg *scu.Config) int {
	size := cfg.BatchSize * cfg.GradientAccumulationSteps
	return (w.Blocks + size - 1) / size
}

// Steps is the number of optimiser steps of a run.
func (w Work) Steps(cfg *scu.Config) int {
	if cfg.Steps != nil {
		return *cfg.Steps
	}
	return cfg.Epochs * w.stepsPerEpoch(cfg)
}

// validations is how often a run is validated.
func (w Work) validations(cfg *scu.Config) int {
	if w.ValBlocks == 0 {
		return 0
	}
	steps := w.Steps(cfg)
	every := cfg.EvalSteps(steps)
	return 1 + (steps+every-1)/every
}
