package tokenizer

import (
	"hash/maphash"
	"slices"
	"strings"
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
	cacheSlots   = 1 << 15
	maxCachedLen = 64 // bytes; longer words seldom come again
)

func newWordCache() *wordCache { return &wordCache{seed: maphash.MakeSeed()} }

// appendIDs appends the ids of word, from memory or, the first time, from encode.
func (c *wordCache) appendIDs(dst []int32, word string, encode func(dst []int32, word string) []int32) []int32 {
	if len(word) > maxCachedLen {
		return encode(dst, word)
	}
	slot := &c.slots[maphash.String(c.seed, word)%cacheSlots]
	if e := slot.Load(); e != nil && e.word == word {
		return append(dst, e.ids...)
	}
	start := len(dst)
	dst = encode(dst, word)
	slot.Store(&cachedWord{strings.Clone(word), slices.Clone(dst[start:])})
	return dst
}
