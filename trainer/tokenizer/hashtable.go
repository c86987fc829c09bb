package tokenizer

// table maps a pair of numbers to a pair of numbers by open addressing: one cache line for most
// look-ups. BPE keeps its merges in one, a trie its edges.
type table struct {
	mask  uint64
	slots []slot
}

type slot struct {
	key  uint64
	a, b int32
}

// absent marks an empty slot; no key is a pair of -1.
const absent = ^uint64(0)

func pairKey(x, y int32) uint64 { return uint64(uint32(x))<<32 | uint64(uint32(y)) }

// newTable makes room for n entries, at most two thirds full: denser costs probes, sparser cache lines.
func newTable(n int) *table {
	size := 16
	for 2*size < 3*n {
		size *= 2
	}
	t := &table{uint64(size - 1), make([]slot, size)}
	for i := range t.slots {
		t.slots[i].key = absent
	}
	return t
}

func (t *table) find(key uint64) *slot {
	h := key * 0x9E3779B97F4A7C15 // 2^64 / golden ratio (Knuth's multiplicative hashing)
	for i := (h ^ h>>32) & t.mask; ; i = (i + 1) & t.mask {
		if s := &t.slots[i]; s.key == key || s.key == absent {
			return s
		}
	}
}

func (t *table) put(x, y, a, b int32) {
	key := pairKey(x, y)
	*t.find(key) = slot{key, a, b}
}

func (t *table) get(x, y int32) (a, b int32, ok bool) {
	s := t.find(pairKey(x, y))
	return s.a, s.b, s.key != absent
}
