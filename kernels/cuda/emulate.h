// Runs the kernels on a CPU, block after block, to check their arithmetic and layouts where
// there is no GPU. common.cuh and hopper.cuh include it in place of the instructions.
//
// Threads are fibers. What a warp or warpgroup does together waits until all its lanes have
// come, then happens for all of them. Warps take turns in a random order, so that a missing
// barrier shows; shared memory starts as NaN; asynchronous copies arrive only when they are
// waited for; warpgroup products happen only at their wait. The blocks of a cluster run
// together. What it can't show: timing, bank conflicts, the order of memory between the
// parts of a chip, and compilers' errors.
#pragma once
#undef _FORTIFY_SOURCE // its longjmp doesn't know of fibers
#include <setjmp.h>
#include <ucontext.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <vector>

#define __global__
#define __device__
#define __constant__
#define __forceinline__ inline
#define __shared__ static // not in kernels that run in clusters
#define __launch_bounds__(...)
#define __grid_constant__
#define __cluster_dims__(...)
#define __align__(n) alignas(n)
#define DEVICE inline
using std::max;
using std::min;
struct uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint2 make_uint2(unsigned a, unsigned b) { return {a, b}; }
inline uint4 make_uint4(unsigned a, unsigned b, unsigned c, unsigned d) { return {a, b, c, d}; }
inline float2 make_float2(float a, float b) { return {a, b}; }
inline float4 make_float4(float a, float b, float c, float d) { return {a, b, c, d}; }

namespace emu {
struct Dim { unsigned x = 1, y = 1, z = 1; };
struct Meeting { int arrived = 0; uint64_t generation = 0; void* arg[128]; };
struct Barrier { int count = 0, pending = 0; long long bytes = 0; uint64_t phase = 0; };
struct Product { float* acc[128]; uint32_t a[128][4]; uint64_t da, db; int n, ta, tb, add, registers; float (*low)(uint32_t); };
struct Products { std::vector<std::vector<Product>> groups; std::vector<Product> open; };
struct Fiber {
  ucontext_t start;
  jmp_buf at;
  char* stack = nullptr;
  bool begun = false, done = false;
  uint64_t cluster_generation = 0;
  std::vector<std::vector<std::function<void()>>> groups;
  std::vector<std::function<void()>> open;
};
struct Block {
  Dim index;
  char* shared;
  std::vector<Meeting> warps, groups;
  Meeting named[16];
  std::vector<Products> products;
  std::map<uint32_t, Barrier> barriers;
  std::vector<std::function<void()>> arriving; // tensor copies on their way
  int arrived = 0, sum = 0, result = 0;
  uint64_t generation = 0;
};

inline std::vector<Fiber> fibers;
inline std::vector<Block> blocks; // those that run together: a cluster
inline jmp_buf scheduler;
inline int current, threads, cluster_arrived; // current: block*threads + thread
inline uint64_t cluster_generation, progress;
inline size_t shared_size;
inline std::function<void()> body;
inline Dim grid_dim, block_dim;

inline Block& here() { return blocks[current / threads]; }
inline int thread() { return current % threads; }
[[noreturn]] inline void fail(const char* what) { fprintf(stderr, "emulation: %s (block %u %u, thread %d)\n", what, here().index.x, here().index.y, thread()); abort(); }
inline void yield() { if (_setjmp(fibers[current].at) == 0) _longjmp(scheduler, 1); }
inline void entry() { body(); fibers[current].done = true; progress++; yield(); }
__attribute__((noinline)) inline void resume(int i) {
  current = i;
  if (_setjmp(scheduler) != 0) return;
  if (fibers[i].begun) _longjmp(fibers[i].at, 1);
  fibers[i].begun = true;
  setcontext(&fibers[i].start);
}
inline char* at(uint32_t address, size_t n) { if (address + n > shared_size) fail("outside shared memory"); return here().shared + address; }

template <class F> void meet(Meeting& m, int n, int lane, void* arg, F f) {
  m.arg[lane] = arg;
  progress++;
  uint64_t g = m.generation;
  if (++m.arrived == n) m.arrived = 0, f(m.arg), m.generation++;
  else while (m.generation == g) yield();
}
template <class F> void warp(void* arg, F f) { meet(here().warps[thread() / 32], min(32, threads - thread() / 32 * 32), thread() % 32, arg, f); }
template <class F> void warpgroup(void* arg, F f) { meet(here().groups[thread() / 128], 128, thread() % 128, arg, f); }
inline int block(int p) {
  Block& b = here();
  uint64_t g = b.generation;
  progress++;
  b.sum += p;
  if (++b.arrived == threads) b.arrived = 0, b.result = b.sum, b.sum = 0, b.generation++;
  else while (b.generation == g) yield();
  return b.result;
}
// Runs kernel for a grid of gx*gy*gz blocks of n threads with `bytes` of dynamic shared memory,
// `cluster` blocks (along x) at a time.
inline void run(unsigned gx, unsigned gy, unsigned gz, int n, size_t bytes, std::function<void()> kernel, unsigned seed, unsigned cluster = 1) {
  constexpr size_t STACK = 1 << 18;
  grid_dim = {gx, gy, gz}, block_dim = {(unsigned)n, 1, 1}, threads = n, body = kernel, shared_size = bytes;
  int all = n * cluster;
  std::vector<char*> stacks(all), shared(cluster);
  for (auto& s : stacks) s = (char*)malloc(STACK);
  for (auto& s : shared) s = (char*)aligned_alloc(1024, (bytes + 2047) / 1024 * 1024);
  std::vector<int> order((all + 31) / 32);
  for (unsigned z = 0; z < gz; z++) for (unsigned y = 0; y < gy; y++) for (unsigned x = 0; x < gx; x += cluster) {
    blocks = std::vector<Block>(cluster);
    fibers = std::vector<Fiber>(all);
    cluster_arrived = 0;
    for (unsigned c = 0; c < cluster; c++) {
      Block& b = blocks[c];
      b.index = {x + c, y, z};
      b.shared = shared[c];
      b.warps.resize((n + 31) / 32), b.groups.resize((n + 127) / 128), b.products.resize((n + 127) / 128);
      memset(b.shared, 0xff, bytes);
    }
    for (int i = 0; i < all; i++) {
      Fiber& f = fibers[i];
      f.stack = stacks[i];
      getcontext(&f.start);
      f.start.uc_stack.ss_sp = f.stack, f.start.uc_stack.ss_size = STACK, f.start.uc_link = nullptr;
      makecontext(&f.start, entry, 0);
    }
    for (int alive = all; alive;) {
      uint64_t before = progress;
      for (size_t i = 0; i < order.size(); i++) order[i] = i;
      for (size_t i = order.size() - 1; i > 0; i--) seed = seed * 1664525u + 1013904223u, std::swap(order[i], order[(seed >> 16) % (i + 1)]);
      alive = 0;
      for (int w : order)
        for (int i = w * 32; i < min(all, w * 32 + 32); i++)
          if (!fibers[i].done) resume(i), alive += !fibers[i].done;
      if (alive && progress == before) fail("deadlock");
    }
  }
  for (auto s : stacks) free(s);
  for (auto s : shared) free(s);
}
inline Dim thread_index() { return {(unsigned)thread(), 0, 0}; }
} // namespace emu
#define threadIdx emu::thread_index()
#define blockIdx emu::here().index
#define gridDim emu::grid_dim
#define blockDim emu::block_dim

#define DYNAMIC_SHARED(name) char* name = emu::here().shared
inline uint32_t shared_address(const void* p) { return (uint32_t)((char*)p - emu::here().shared); }
inline void __syncthreads() { emu::block(0); }
inline int __syncthreads_count(int p) { return emu::block(p ? 1 : 0); }

// ---- numbers
inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
inline float __int_as_float(int i) { return __uint_as_float((unsigned)i); }
inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
inline int __popc(unsigned u) { return __builtin_popcount(u); }
inline float exp2_fast(float x) { return exp2f(x); }
inline float log2_fast(float x) { return log2f(x); }
inline float inverse_fast(float x) { return 1.f / x; }
inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
template <class T> inline float low(uint32_t v);
template <class T> inline float high(uint32_t v) { return low<T>(v >> 16); }
template <> inline float low<bf16>(uint32_t v) { return __uint_as_float(v << 16); }
template <> inline float low<f16>(uint32_t v) {
  uint32_t sign = (v & 0x8000) << 16, e = v >> 10 & 31, m = v & 0x3ff;
  if (e == 31) return __uint_as_float(sign | 0x7f800000 | m << 13);
  float f = e ? ldexpf(1.f + m / 1024.f, (int)e - 15) : ldexpf((float)m, -24);
  return sign ? -f : f;
}
template <class T> inline uint32_t to_bits(float f);
template <> inline uint32_t to_bits<bf16>(float f) { uint32_t u = __float_as_uint(f); return std::isnan(f) ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16; }
template <> inline uint32_t to_bits<f16>(float f) {
  uint32_t sign = __float_as_uint(f) >> 16 & 0x8000;
  if (std::isnan(f)) return 0x7fff;
  f = fabsf(f);
  if (f >= 65520.f) return sign | 0x7c00;
  if (f < 0x1p-14f) return sign | (uint32_t)nearbyintf(f * 0x1p24f);
  int e;
  frexpf(f, &e); // f in [2^(e-1), 2^e)
  return sign | (uint32_t)((e + 14) << 10) + (uint32_t)nearbyintf(ldexpf(f, 11 - e)) - 1024;
}
template <class T> inline uint32_t pack(float lo, float hi) { return to_bits<T>(lo) | to_bits<T>(hi) << 16; }
template <class T> inline uint32_t max_pair(uint32_t a, uint32_t b) { return pack<T>(max(low<T>(a), low<T>(b)), max(high<T>(a), high<T>(b))); }
inline void renew(uint4&) {}
inline uint4 load_shared16(uint32_t a) { uint4 v; memcpy(&v, emu::at(a, 16), 16); return v; }
inline void store_shared4(uint32_t a, uint32_t v) { memcpy(emu::at(a, 4), &v, 4); }
inline void store_shared16(uint32_t a, uint4 v) { memcpy(emu::at(a, 16), &v, 16); }

// ---- asynchronous copies
inline void emulated_copy(uint32_t dst, const void* src, bool ok, int n) {
  if (dst % n || (ok && (uintptr_t)src % n)) emu::fail("misaligned copy");
  char* to = emu::at(dst, n);
  emu::fibers[emu::current].open.push_back([=] { if (ok) memcpy(to, src, n); else memset(to, 0, n); });
}
inline void copy16(uint32_t dst, const void* src, bool ok) { emulated_copy(dst, src, ok, 16); }
inline void copy4(uint32_t dst, const void* src, bool ok) { emulated_copy(dst, src, ok, 4); }
inline void copy_commit() { auto& f = emu::fibers[emu::current]; f.groups.push_back(std::move(f.open)); f.open.clear(); }
template <int N> inline void copy_wait() {
  auto& f = emu::fibers[emu::current];
  while ((int)f.groups.size() > N) { for (auto& c : f.groups[0]) c(); f.groups.erase(f.groups.begin()); }
}

// ---- a warp's operations
inline void emulated_ldmatrix(uint32_t (&r)[4], uint32_t address, bool trans) {
  struct Arg { uint32_t *r, a; } me{r, address};
  emu::warp(&me, [=](void** s) {
    for (int m = 0; m < 4; m++) {
      uint16_t t[8][8];
      for (int i = 0; i < 8; i++) {
        uint32_t a = ((Arg*)s[m * 8 + i])->a;
        if (a % 16) emu::fail("misaligned ldmatrix");
        memcpy(t[i], emu::at(a, 16), 16);
      }
      for (int l = 0; l < 32; l++) {
        int g = l / 4, c = 2 * (l % 4);
        ((Arg*)s[l])->r[m] = trans ? t[c][g] | (uint32_t)t[c + 1][g] << 16 : t[g][c] | (uint32_t)t[g][c + 1] << 16;
      }
    }
  });
}
inline void load_matrix(uint32_t (&r)[4], uint32_t a) { emulated_ldmatrix(r, a, false); }
inline void load_matrix_trans(uint32_t (&r)[4], uint32_t a) { emulated_ldmatrix(r, a, true); }
template <class T> inline void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  struct Arg { float* d; const uint32_t* a; uint32_t b0, b1; } me{d, a, b0, b1};
  emu::warp(&me, [](void** s) {
    float A[16][16], B[16][8];
    for (int l = 0; l < 32; l++) {
      Arg* x = (Arg*)s[l];
      int g = l / 4, t = 2 * (l % 4);
      for (int i = 0; i < 4; i++) A[g + (i & 1) * 8][t + (i >> 1) * 8] = low<T>(x->a[i]), A[g + (i & 1) * 8][t + 1 + (i >> 1) * 8] = high<T>(x->a[i]);
      B[t][g] = low<T>(x->b0), B[t + 1][g] = high<T>(x->b0), B[t + 8][g] = low<T>(x->b1), B[t + 9][g] = high<T>(x->b1);
    }
    for (int l = 0; l < 32; l++)
      for (int e = 0; e < 4; e++)
        for (int k = 0; k < 16; k++) ((Arg*)s[l])->d[e] += A[l / 4 + (e >> 1) * 8][k] * B[k][2 * (l % 4) + (e & 1)];
  });
}
inline float shuffle_xor(float v, int mask) {
  struct Arg { float in, out; } me{v, v};
  emu::warp(&me, [mask](void** s) { for (int l = 0; l < 32; l++) ((Arg*)s[l])->out = ((Arg*)s[l ^ mask])->in; });
  return me.out;
}
inline int count_in_warp(bool p) {
  struct Arg { bool p; int n; } me{p, 0};
  emu::warp(&me, [](void** s) { int n = 0; for (int l = 0; l < 32; l++) n += ((Arg*)s[l])->p; for (int l = 0; l < 32; l++) ((Arg*)s[l])->n = n; });
  return me.n;
}
inline bool any_in_warp(bool p) { return count_in_warp(p) > 0; }
inline void sync_warp() { count_in_warp(false); }
inline void begin() {} // kernels run one after the other
