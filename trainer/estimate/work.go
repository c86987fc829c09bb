package estimate

import (
	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/data"
)

// Work is what a run goes through: the blocks that it trains on and those that it
// is validated on, and how many tokens they have together.
type Work struct {
	Blocks, ValBlocks int
	Tokens, ValTokens int64
	Longest           int // tokens of the longest block
}

// WorkOf is the work of a run on data; val may be nil, and a share of train is
// then held out.
func WorkOf(train, val *data.Dataset, cfg *scu.Config) Work {
	if val == nil {
		train, val = train.Split(cfg.ValFraction, cfg.Seed)
	}
	return Work{Blocks: train.Blocks(), Tokens: train.Tokens(), ValBlocks: val.Blocks(), ValTokens: val.Tokens(),
		Longest: max(train.Longest(), val.Longest())}
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

// step sizes of a run.
func (w Work) stepsPerEpoch(cfg *scu.Config) int {
	size := cfg.BatchSize * cfg.GradientAccumulationSteps
	return (w.Blocks + size - 1) / size
}

func (w Work) steps(cfg *scu.Config) int {
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
	steps := w.steps(cfg)
	every := cfg.EvalSteps(steps)
	return 1 + (steps+every-1)/every
}
