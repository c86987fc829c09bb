package tokenizer

import (
	"hash/maphash"
	"sync/atomic"
)

// wordCache remembers the ids of words. Text repeats its words, so most are found here. Each slot holds
// the latest word of its hash: bounded, and readers and writers never wait for each other.
type wordCache struct {
	seed  maphash.Seed
	slots [cacheSlots]atomic.Pointer[cachedWord]
}

type cachedWord struct {
	word string
	ids  []int32
}

const (
	cacheSlots   = 1 << 14
	maxCachedLen = 64 // bytes; longer words seldom come again
)

func newWordCache() *wordCache { return &wordCache{seed: maphash.MakeSeed()} }

// slot gives the place of word and, where word stands there, its ids.
func (c *wordCache) slot(word string) (slot *atomic.Pointer[cachedWord], ids []int32, ok bool) {
	slot = &c.slots[maphash.String(c.seed, word)%cacheSlots]
	if e := slot.Load(); e != nil && e.word == word {
		return slot, e.ids, true
	}
	return slot, nil, false
}
