package data

import (
	"fmt"
	"math"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels/random"
)

// maxPasses bounds how often a source may be read in one epoch.
const maxPasses = 100

// source is the blocks of one file, [from, to) of a Dataset, and how many of them an
// epoch takes.
type source struct {
	from, to int
	takes    int
	tokens   int64 // of [from, to)
}

func (s source) blocks() int { return s.to - s.from }

// Mix makes one Dataset of several, whose blocks stay apart, and takes them over: close
// it alone. shares[i] is the relative weight of set i's tokens in an epoch: the set with
// the most tokens for its share is read once, each of the others over and over until it
// has its share. With no shares each is read once.
func Mix(sets []*Dataset, shares []float64) (*Dataset, error) {
	if len(sets) == 1 {
		return sets[0], nil
	}
	var files []*tokenFile
	var docs []doc
	for _, d := range sets {
		for _, x := range d.docs {
			x.file += int32(len(files))
			docs = append(docs, x)
		}
		files = append(files, d.files...)
	}
	first := sets[0]
	return newDataset(files, docs, first.size, first.packing, first.eos, shares)
}

// weigh sets how many blocks of each source an epoch takes, to the nearest block.
func (d *Dataset) weigh() error {
	most := -1 // the source with the most tokens for its share
	perShare := func(i int) float64 { return float64(d.sources[i].tokens) / d.shares[i] }
	for i := range d.sources {
		d.sources[i].takes = d.sources[i].blocks()
		if d.shares != nil && (most < 0 || perShare(i) > perShare(most)) {
			most = i
		}
	}
	if most < 0 || len(d.docs) == 0 {
		return nil
	}
	for i := range d.sources {
		s := &d.sources[i]
		if s.tokens == 0 {
			return scu.Errorf(scu.CodeInvalid, "nothing of it is left to train on").At(fmt.Sprintf("train_data[%d].path", i)).
				WithHint("leave it out, or give validation data")
		}
		if i == most {
			continue
		}
		passes := perShare(most) / perShare(i)
		if !(passes <= maxPasses) {
			return scu.Errorf(scu.CodeInvalid, "it would be read %.0f times an epoch to have its share; at most %d are taken", passes, maxPasses).
				At(fmt.Sprintf("train_data[%d].share", i)).WithHint("lower this share, or raise the others")
		}
		s.takes = int(math.Round(passes * float64(s.blocks())))
	}
	return nil
}

// EpochBlocks is the number of blocks of one epoch.
func (d *Dataset) EpochBlocks() (n int) {
	for _, s := range d.sources {
		n += s.takes
	}
	return n
}

// EpochTokens is N, the tokens of one epoch: of several files with shares on average,
// since the blocks differ in length.
func (d *Dataset) EpochTokens() (n int64) {
	for _, s := range d.sources {
		n += s.epochTokens()
	}
	return n
}

func (s source) epochTokens() int64 {
	if s.takes == s.blocks() {
		return s.tokens
	}
	return int64(math.Round(float64(s.takes) / float64(s.blocks()) * float64(s.tokens)))
}

// Sources describes each file of the Dataset, in order.
func (d *Dataset) Sources() []scu.SourceReport {
	out := make([]scu.SourceReport, len(d.sources))
	for _, x := range d.docs {
		out[x.file].Documents++
	}
	for i, s := range d.sources {
		out[i].Tokens, out[i].EpochTokens = s.tokens, s.epochTokens()
	}
	return out
}

// epoch gives the blocks of an epoch before they are shuffled. A source that isn't read
// just once goes on where the epoch before ended, each time through in a new order: no
// block of it is ever more than one pass ahead of another.
func (d *Dataset) epoch(seed int64, epoch int) []int32 {
	blocks := make([]int32, 0, d.EpochBlocks())
	for i, s := range d.sources {
		if s.takes == s.blocks() {
			for b := s.from; b < s.to; b++ {
				blocks = append(blocks, int32(b))
			}
			continue
		}
		for at, end := epoch*s.takes, (epoch+1)*s.takes; at < end; {
			pass, place := at/s.blocks(), at%s.blocks()
			n := min(s.blocks()-place, end-at)
			for _, b := range passOrder(s.blocks(), seed, i, pass)[place : place+n] {
				blocks = append(blocks, int32(s.from)+b)
			}
			at += n
		}
	}
	return blocks
}

// tokensBefore is the number of tokens of all epochs before one.
func (d *Dataset) tokensBefore(seed int64, epoch int) (n int64) {
	for i, s := range d.sources {
		if s.blocks() == 0 {
			continue
		}
		pass, place := epoch*s.takes/s.blocks(), epoch*s.takes%s.blocks()
		n += int64(pass) * s.tokens
		if place == 0 {
			continue
		}
		for _, b := range passOrder(s.blocks(), seed, i, pass)[:place] {
			n += int64(d.Len(s.from + int(b)))
		}
	}
	return n
}

// passOrder is the order of a source's n blocks in one pass over them.
func passOrder(n int, seed int64, source, pass int) []int32 {
	return permutation(n, random.Key(uint64(seed), random.StreamOrder, mixCoordinate, uint64(source), uint64(pass)))
}

// mixCoordinate stands where an epoch's number stands in the key of its order.
const mixCoordinate = math.MaxUint64 - 1
