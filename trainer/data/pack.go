package data

// packer cuts a stream of tokens into blocks of size tokens; the last may be
// shorter. The first token of a block is predicted by nothing, so a block whose
// other tokens don't count has no target: it would teach nothing and is left out.
// That is the end-of-text token alone after the last full block, and a block
// inside a long prompt where completions alone count.
type packer struct {
	size  int
	write func(block []int32) error // tokens as in blocks.go
	block []int32

	blocks                   int
	tokens, targets, leftOut int64
}

// add appends a token; counts says whether its prediction counts in the loss.
func (p *packer) add(id int32, counts bool) error {
	if !counts {
		id = ^id
	}
	p.block = append(p.block, id)
	if len(p.block) < p.size {
		return nil
	}
	return p.close()
}

func (p *packer) addAll(ids []int32, counts bool) error {
	for _, id := range ids {
		if err := p.add(id, counts); err != nil {
			return err
		}
	}
	return nil
}

// close ends the block at hand.
func (p *packer) close() error {
	block := p.block
	p.block = p.block[:0]
	var targets int64
	for i, id := range block {
		if i > 0 && id >= 0 {
			targets++
		}
	}
	if targets == 0 {
		p.leftOut += int64(len(block))
		return nil
	}
	p.blocks++
	p.tokens += int64(len(block))
	p.targets += targets
	return p.write(block)
}
