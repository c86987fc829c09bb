// The part of emulate.h that stands in for hopper.cuh: barriers in shared memory, tensor
// copies, warpgroup products.
#pragma once

// ---- barriers and tensor copies. A map holds pointer, 4 sizes, 3 strides in bytes, 4 box sizes.
inline void emulated_check(emu::Barrier& b) { if (b.pending == 0 && b.bytes == 0) b.phase++, b.pending = b.count, emu::progress++; }
inline void barrier_init(uint32_t b, int count) { emu::here().barriers[b] = {count, count, 0, 0}; }
inline void barrier_init_fence() {}
inline void barrier_arrive(uint32_t b, uint32_t rank) { auto& x = emu::blocks[rank].barriers.at(b); if (x.pending-- <= 0) emu::fail("too many arrivals"); emu::progress++; emulated_check(x); }
inline void barrier_arrive(uint32_t b) { barrier_arrive(b, emu::current / emu::threads); }
inline void barrier_expect(uint32_t b, int bytes) { emu::here().barriers.at(b).bytes += bytes; barrier_arrive(b); }
inline void barrier_wait(uint32_t b, uint32_t parity) {
  auto& x = emu::here().barriers.at(b);
  while ((x.phase & 1) == (parity & 1)) {
    if (emu::here().arriving.size()) emu::progress++;
    emu::yield();
    auto list = std::move(emu::here().arriving);
    emu::here().arriving.clear();
    for (auto& f : list) f();
  }
}
template <class Map> inline std::function<void()> emulated_tensor_copy(uint32_t dst, const Map* map, uint32_t bar, int c0, int c1, int c2, int c3) {
  std::vector<uint64_t> w(map->words, map->words + 12);
  return [=] {
    uint32_t to = dst;
    for (int x3 = 0; x3 < (int)w[11]; x3++) for (int x2 = 0; x2 < (int)w[10]; x2++) for (int x1 = 0; x1 < (int)w[9]; x1++) for (int x0 = 0; x0 < (int)w[8]; x0++, to += 2) {
      int i0 = c0 + x0, i1 = c1 + x1, i2 = c2 + x2, i3 = c3 + x3;
      uint16_t v = 0;
      if (i0 < (int)w[1] && i1 < (int)w[2] && i2 < (int)w[3] && i3 < (int)w[4]) memcpy(&v, (char*)w[0] + 2 * i0 + i1 * w[5] + i2 * w[6] + i3 * w[7], 2);
      memcpy(emu::at(to ^ (to >> 7 & 7) << 4, 2), &v, 2);
    }
    auto& x = emu::here().barriers.at(bar);
    x.bytes -= to - dst;
    emulated_check(x);
  };
}
template <class Map> inline void copy_tensor(uint32_t dst, const Map* map, uint32_t bar, int c0, int c1, int c2, int c3) {
  emu::here().arriving.push_back(emulated_tensor_copy(dst, map, bar, c0, c1, c2, c3));
}
template <class Map> inline void copy_tensor_to_both(uint32_t dst, const Map* map, uint32_t bar, int c0, int c1, int c2, int c3) {
  for (auto& block : emu::blocks) block.arriving.push_back(emulated_tensor_copy(dst, map, bar, c0, c1, c2, c3));
  emu::progress++;
}
// Stores are done when they are waited for.
template <class Map> inline void store_tensor(const Map* map, uint32_t src, int c0, int c1, int c2, int c3) {
  std::vector<uint64_t> w(map->words, map->words + 12);
  emu::fibers[emu::current].open.push_back([=] {
    uint32_t from = src;
    for (int x3 = 0; x3 < (int)w[11]; x3++) for (int x2 = 0; x2 < (int)w[10]; x2++) for (int x1 = 0; x1 < (int)w[9]; x1++) for (int x0 = 0; x0 < (int)w[8]; x0++, from += 2) {
      int i0 = c0 + x0, i1 = c1 + x1, i2 = c2 + x2, i3 = c3 + x3;
      if (i0 < (int)w[1] && i1 < (int)w[2] && i2 < (int)w[3] && i3 < (int)w[4]) memcpy((char*)w[0] + 2 * i0 + i1 * w[5] + i2 * w[6] + i3 * w[7], emu::at(from ^ (from >> 7 & 7) << 4, 2), 2);
    }
  });
}
inline void written() {}
inline void store_commit() { copy_commit(); }
inline void store_wait() { copy_wait<0>(); }
inline uint32_t cluster_rank() { return emu::current / emu::threads; }
inline void store_shared_of(uint32_t address, uint32_t rank, float x, float y) {
  float2 v{x, y};
  emu::at(address, 8); // within bounds
  memcpy(emu::blocks[rank].shared + address, &v, 8);
}
inline float2 load_shared_pair(uint32_t address) { float2 v; memcpy(&v, emu::at(address, 8), 8); return v; }
inline void cluster_sync() {
  uint64_t g = emu::cluster_generation;
  emu::progress++;
  if (++emu::cluster_arrived == (int)emu::blocks.size() * emu::threads) emu::cluster_arrived = 0, emu::cluster_generation++;
  else while (emu::cluster_generation == g) emu::yield();
}
inline void named_arrive(int id, int threads) { auto& m = emu::here().named[id]; emu::progress++; if (++m.arrived == threads) m.arrived = 0, m.generation++; }
inline void named_barrier(int id, int threads) { auto& m = emu::here().named[id]; uint64_t g = m.generation; named_arrive(id, threads); while (m.generation == g) emu::yield(); }
template <int N> inline void more_registers() {}
template <int N> inline void fewer_registers() {}

// ---- products of a warpgroup
inline void group_fence() {}
template <int N> inline void settle(float (&)[N][4]) {}
inline emu::Products& emulated_products() { return emu::here().products[emu::thread() / 128]; }
inline void group_commit() { int x; emu::warpgroup(&x, [](void**) { auto& p = emulated_products(); p.groups.push_back(std::move(p.open)); p.open.clear(); }); }
inline void emulated_product(const emu::Product& o) {
  static float A[64][16], B[256][16];
  auto element = [&](uint64_t d, int mn, int k, int trans) {
    uint32_t start = (d & 0x3fff) << 4, part = (d >> 16 & 0x3fff) << 4, rows = (d >> 32 & 0x3fff) << 4;
    uint32_t a = trans ? start + mn / 64 * part + k / 8 * rows + k % 8 * 128 + mn % 64 * 2 : start + mn / 8 * rows + mn % 8 * 128 + k * 2;
    uint16_t v;
    memcpy(&v, emu::at(a ^ (a >> 7 & 7) << 4, 2), 2);
    return o.low(v);
  };
  if (o.registers)
    for (int l = 0; l < 128; l++)
      for (int i = 0; i < 4; i++) {
        int r = l / 32 * 16 + l % 32 / 4 + (i & 1) * 8, c = 2 * (l % 4) + (i >> 1) * 8;
        A[r][c] = o.low(o.a[l][i]), A[r][c + 1] = o.low(o.a[l][i] >> 16);
      }
  else
    for (int m = 0; m < 64; m++) for (int k = 0; k < 16; k++) A[m][k] = element(o.da, m, k, o.ta);
  for (int n = 0; n < o.n; n++) for (int k = 0; k < 16; k++) B[n][k] = element(o.db, n, k, o.tb);
  for (int l = 0; l < 128; l++)
    for (int n = 0; n < o.n / 8; n++)
      for (int e = 0; e < 4; e++) {
        int r = l / 32 * 16 + l % 32 / 4 + (e >> 1) * 8, c = n * 8 + 2 * (l % 4) + (e & 1);
        float z = o.add ? o.acc[l][n * 4 + e] : 0.f;
        for (int k = 0; k < 16; k++) z += A[r][k] * B[c][k];
        o.acc[l][n * 4 + e] = z;
      }
}
template <int N> inline void group_wait() {
  int x;
  emu::warpgroup(&x, [](void**) {
    auto& p = emulated_products();
    while ((int)p.groups.size() > N) { for (auto& o : p.groups[0]) emulated_product(o); p.groups.erase(p.groups.begin()); }
  });
}
template <int TA, int TB, class T, int NT> inline void group_mma(T, float (&d)[NT][4], uint64_t a, uint64_t b, int add) {
  emu::warpgroup(&d[0][0], [=](void** s) {
    emu::Product o{{}, {}, a, b, NT * 8, TA, TB, add, 0, low<T>};
    for (int l = 0; l < 128; l++) o.acc[l] = (float*)s[l];
    emulated_products().open.push_back(o);
  });
}
template <int TB, class T, int NT> inline void group_mma(T, float (&d)[NT][4], const uint32_t (&a)[4], uint64_t b, int add) {
  struct Arg { float* d; const uint32_t* a; } me{&d[0][0], a};
  emu::warpgroup(&me, [=](void** s) {
    emu::Product o{{}, {}, 0, b, NT * 8, 0, TB, add, 1, low<T>};
    for (int l = 0; l < 128; l++) o.acc[l] = ((Arg*)s[l])->d, memcpy(o.a[l], ((Arg*)s[l])->a, 16);
    emulated_products().open.push_back(o);
  });
}
