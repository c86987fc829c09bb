// Random numbers and dropout masks, as package random defines them.
#pragma once
#include "common.cuh"

struct Words {
  uint32_t w[4];
};

// Philox4x32-10 (Salmon and others, SC 2011) at position i of the key's dropout stream.
DEVICE Words philox(uint64_t key, uint64_t i) {
  uint32_t c0 = (uint32_t)i, c1 = (uint32_t)(i >> 32), c2 = 0, c3 = 0, k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  for (int round = 0; round < 10; round++) {
    uint64_t p0 = (uint64_t)c0 * 0xD2511F53u, p1 = (uint64_t)c2 * 0xCD9E8D57u;
    uint32_t a = (uint32_t)(p1 >> 32) ^ c1 ^ k0, b = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c0 = a, c1 = (uint32_t)p1, c2 = b, c3 = (uint32_t)p0;
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

DEVICE uint64_t split_mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15ull;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ z >> 27) * 0x94d049bb133111ebull;
  return z ^ z >> 31;
}
// random.Key(base, module)
DEVICE uint64_t module_key(uint64_t base, uint64_t module) { return split_mix(split_mix(base) ^ split_mix(module)); }

// Which of elements 32 block to 32 block + 31 are kept, a bit each: those whose random byte is
// below keep. The byte's bit j is the element's bit of word j.
DEVICE uint32_t mask_bits(uint64_t key, uint64_t block, int keep) {
  if (keep >= 256) return ~0u;
  Words a = philox(key, 2 * block), b = philox(key, 2 * block + 1);
  uint32_t below = 0;
  for (int j = 0; j < 8; j++) {
    uint32_t w = j < 4 ? a.w[j] : b.w[j - 4];
    below = keep >> j & 1 ? below | ~w : below & ~w;
  }
  return below;
}
