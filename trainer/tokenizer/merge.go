package tokenizer

import "math"

// Joining a word's symbols. Both ways always join the pair of lowest rank, the leftmost of equals:
// merge scans for it, which is fastest for words; mergeLong keeps a heap and stays n log n for a
// document without spaces.

// scratch is the memory of one word's merging, reused.
type scratch struct {
	ids     []int32
	pairs   []pair
	symbols []symbol
	heap    []candidate
}

// pair is what joining a symbol with its right neighbour would give.
type pair struct{ rank, id int32 }

const noRank = math.MaxInt32

func (m *bpe) pairOf(left, right int32) pair {
	if rank, id, ok := m.merges.get(left, right); ok {
		return pair{rank, id}
	}
	return pair{rank: noRank}
}

// longWord is the number of symbols from which the heap wins.
const longWord = 48

// merge joins ids in place and returns what is left of it.
func (m *bpe) merge(sc *scratch, ids []int32) []int32 {
	if len(ids) > longWord {
		return m.mergeLong(sc, ids)
	}
	pairs := sc.pairs[:0] // pairs[i] is of ids[i] and ids[i+1]
	for i := 0; i+1 < len(ids); i++ {
		pairs = append(pairs, m.pairOf(ids[i], ids[i+1]))
	}
	sc.pairs = pairs
	for {
		best, at := int32(noRank), -1
		for i := range pairs {
			if pairs[i].rank < best {
				best, at = pairs[i].rank, i
			}
		}
		if at < 0 {
			return ids
		}
		ids[at] = pairs[at].id
		ids = append(ids[:at+1], ids[at+2:]...)
		pairs = append(pairs[:at], pairs[at+1:]...)
		if at < len(pairs) {
			pairs[at] = m.pairOf(ids[at], ids[at+1])
		}
		if at > 0 {
			pairs[at-1] = m.pairOf(ids[at-1], ids[at])
		}
	}
}

// symbol is a node of the doubly linked list of what is not yet joined.
type symbol struct {
	id         int32
	prev, next int32 // -1: none
	joined     bool  // into a symbol on its left
}

// candidate is a pair at a place, possibly out of date when its turn comes.
type candidate struct {
	pair
	at int32
}

func (c candidate) before(d candidate) bool {
	return c.rank < d.rank || c.rank == d.rank && c.at < d.at
}

func (m *bpe) mergeLong(sc *scratch, ids []int32) []int32 {
	syms := sc.symbols[:0]
	for i, id := range ids {
		syms = append(syms, symbol{id: id, prev: int32(i - 1), next: int32(i + 1)})
	}
	syms[len(syms)-1].next = -1
	h := candidates(sc.heap[:0])
	consider := func(at int32) {
		if next := syms[at].next; next >= 0 {
			if p := m.pairOf(syms[at].id, syms[next].id); p.rank < noRank {
				h.push(candidate{p, at})
			}
		}
	}
	for i := range syms {
		consider(int32(i))
	}
	for len(h) > 0 {
		c := h.pop()
		left := &syms[c.at]
		if left.joined || left.next < 0 {
			continue
		}
		right := &syms[left.next]
		if p := m.pairOf(left.id, right.id); p.rank == noRank || p.id != c.id {
			continue
		}
		left.id, left.next, right.joined = c.id, right.next, true
		if left.next >= 0 {
			syms[left.next].prev = c.at
		}
		if left.prev >= 0 {
			consider(left.prev)
		}
		consider(c.at)
	}
	sc.symbols, sc.heap = syms, h
	ids = ids[:0]
	for i := range syms {
		if !syms[i].joined {
			ids = append(ids, syms[i].id)
		}
	}
	return ids
}

// candidates is a binary heap, the best candidate first.
type candidates []candidate

func (h *candidates) push(c candidate) {
	*h = append(*h, c)
	s := *h
	i := len(s) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !c.before(s[up]) {
			break
		}
		s[i] = s[up]
		i = up
	}
	s[i] = c
}

func (h *candidates) pop() candidate {
	s := *h
	top, last := s[0], s[len(s)-1]
	s = s[:len(s)-1]
	*h = s
	if len(s) == 0 {
		return top
	}
	i := 0
	for {
		down := 2*i + 1
		if down >= len(s) {
			break
		}
		if down+1 < len(s) && s[down+1].before(s[down]) {
			down++
		}
		if !s[down].before(last) {
			break
		}
		s[i] = s[down]
		i = down
	}
	s[i] = last
	return top
}
