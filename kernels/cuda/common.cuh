// The instructions that the kernels share, each under a plain name, so that emulate.h can
// stand in for them on a CPU. No CUDA header is needed: 16-bit numbers are their bits, and
// two of them travel in one 32-bit register.
//
// Every kernel takes one structure by value (pointers first, then 32-bit fields) and, where
// it exists for both 16-bit types, ends in _bf16 or _f16.
#pragma once

#ifdef EMULATE
#include <cstdint>
#else
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
#endif

struct bf16 { uint16_t bits; };
struct f16 { uint16_t bits; };

#ifdef EMULATE
#include "emulate.h"
#else

#define DEVICE __device__ __forceinline__
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) char name[]

DEVICE uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

// Asynchronous copies of 16 and 4 bytes from global to shared memory; zeros unless ok.
DEVICE void copy16(uint32_t dst, const void* src, bool ok) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(ok ? 16 : 0) : "memory");
}
DEVICE void copy4(uint32_t dst, const void* src, bool ok) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(dst), "l"(src), "r"(ok ? 4 : 0) : "memory");
}
DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of this thread's copies are on their way.
template <int N> DEVICE void copy_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four 8x8 matrices of 16-bit numbers from shared memory into registers, plain or transposed.
DEVICE void load_matrix(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
DEVICE void load_matrix_trans(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
// d[16x8] += a[16x16] b[16x8]
template <class T> DEVICE void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
template <> DEVICE void mma<bf16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <> DEVICE void mma<f16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two numbers into a register, rounded to nearest even, and out of it.
template <class T> DEVICE uint32_t pack(float lo, float hi);
template <> DEVICE uint32_t pack<bf16>(float lo, float hi) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
template <> DEVICE uint32_t pack<f16>(float lo, float hi) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
  return r;
}
template <class T> DEVICE float low(uint32_t v);
template <class T> DEVICE float high(uint32_t v);
template <> DEVICE float low<bf16>(uint32_t v) { return __uint_as_float(v << 16); }
template <> DEVICE float high<bf16>(uint32_t v) { return __uint_as_float(v & 0xffff0000u); }
template <> DEVICE float low<f16>(uint32_t v) {
  float r;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l;}" : "=f"(r) : "r"(v));
  return r;
}
template <> DEVICE float high<f16>(uint32_t v) {
  float r;
  asm("{.reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h;}" : "=f"(r) : "r"(v));
  return r;
}
// The larger of each of two pairs.
template <class T> DEVICE uint32_t max_pair(uint32_t a, uint32_t b);
template <> DEVICE uint32_t max_pair<bf16>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("max.bf16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}
template <> DEVICE uint32_t max_pair<f16>(uint32_t a, uint32_t b) {
  uint32_t r;
  asm("max.f16x2 %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

DEVICE float exp2_fast(float x) {
  float r;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float log2_fast(float x) {
  float r;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
DEVICE float inverse_fast(float x) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
  return r;
}
// Kernels that start early (device.go) begin so: the next one's blocks may come, and nothing is read or written before
// the work ahead is done.
DEVICE void begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE void sync_warp() { __syncwarp(); }
DEVICE int count_in_warp(bool p) { return __popc(__ballot_sync(0xffffffffu, p)); }
DEVICE bool any_in_warp(bool p) { return __any_sync(0xffffffffu, p); }

// Keeps the compiler from reusing what it computed from v before: registers over arithmetic.
DEVICE void renew(uint4& v) { asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w)); }

DEVICE uint4 load_shared16(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address) : "memory");
  return v;
}
DEVICE void store_shared4(uint32_t address, uint32_t v) { asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(v) : "memory"); }
DEVICE void store_shared16(uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

#endif

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f
#define NEG_INF (-__int_as_float(0x7f800000))

// tanh by one exponential and one reciprocal: 3e-7 beside 1.
DEVICE float tanh_fast(float x) { return 1.f - 2.f * inverse_fast(1.f + exp2_fast(x * (2.f * LOG2E))); }

// ---- Tiles in shared memory
// A tile is [rows][D] 16-bit numbers, D a multiple of 16. The 16-byte chunks of a row are
// permuted (xor with bits of the row's number), so that eight rows of one chunk lie in eight
// different groups of banks whatever D is.
template <int D> DEVICE int swizzle(int row) { return D % 64 == 0 ? row & 7 : D % 32 == 0 ? row >> 1 & 3 : row >> 2 & 1; }
template <int D> DEVICE uint32_t chunk_at(int row, int chunk) { return row * (2 * D) + ((chunk ^ swizzle<D>(row)) << 4); }
// From a lane's address of chunk 0 or 1 of its row to the one `chunk` (even) further on; rows
// are reached by adding 8 n row bytes.
template <int D> DEVICE uint32_t chunk_from(uint32_t lane_address, int chunk) {
  constexpr int mask = D % 64 == 0 ? 7 : D % 32 == 0 ? 3 : 1;
  return (lane_address ^ ((chunk & mask) << 4)) + ((chunk & ~mask) << 4);
}
// Where a lane's row starts for load_matrix:
//   A [m][k] plain, B [k][n] transposed: 16 rows, 2 chunks
template <int D> DEVICE uint32_t lane_rows_first(int lane) { return chunk_at<D>(lane & 15, lane >> 4); }
//   B [n][k] plain, A [k][m] transposed: the same 16x16 block, its quarters in the other order
template <int D> DEVICE uint32_t lane_chunks_first(int lane) { return chunk_at<D>((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1); }

// Copies rows [row0, row0+ROWS) of a matrix with `stride` elements a row into a tile; rows
// from `rows` on and columns from `columns` (a multiple of 8) on become zeros.
template <int ROWS, int D, int THREADS, class T> DEVICE void load_tile(uint32_t tile, const T* src, int stride, int row0, int rows, int columns, int thread) {
  constexpr int CHUNKS = D / 8;
  static_assert(ROWS * CHUNKS % THREADS == 0, "tile");
#pragma unroll
  for (int i = 0; i < ROWS * CHUNKS / THREADS; i++) {
    int r = (thread + i * THREADS) / CHUNKS, c = (thread + i * THREADS) % CHUNKS;
    bool ok = row0 + r < rows && c * 8 < columns;
    copy16(tile + chunk_at<D>(r, c), src + (ok ? (int64_t)(row0 + r) * stride + c * 8 : 0), ok);
  }
}

// ---- Vectors of 16 bytes: eight 16-bit numbers, or four floats
template <class T> struct Vector { static constexpr int N = 16 / sizeof(T); };
template <class T> DEVICE void unpack(float (&f)[8], uint4 v) {
  f[0] = low<T>(v.x), f[1] = high<T>(v.x), f[2] = low<T>(v.y), f[3] = high<T>(v.y), f[4] = low<T>(v.z), f[5] = high<T>(v.z), f[6] = low<T>(v.w), f[7] = high<T>(v.w);
}
template <class T> DEVICE void unpack(float (&f)[4], uint4 v) { f[0] = __uint_as_float(v.x), f[1] = __uint_as_float(v.y), f[2] = __uint_as_float(v.z), f[3] = __uint_as_float(v.w); }
// f[i] = p[i]; p is aligned to 16 bytes.
template <class T, int N> DEVICE void load(float (&f)[N], const T* p) { unpack<T>(f, *(const uint4*)p); }
template <int N> DEVICE void load_floats(float (&f)[N], const float* p) {
#pragma unroll
  for (int i = 0; i < N; i += 4) {
    float4 v = *(const float4*)(p + i);
    f[i] = v.x, f[i + 1] = v.y, f[i + 2] = v.z, f[i + 3] = v.w;
  }
}
// p[i] = f[i], rounded; p is aligned to the bytes written.
DEVICE void store(float* p, const float (&f)[4]) { *(float4*)p = make_float4(f[0], f[1], f[2], f[3]); }
template <class T> DEVICE void store(T* p, const float (&f)[4]) { *(uint2*)p = make_uint2(pack<T>(f[0], f[1]), pack<T>(f[2], f[3])); }
template <class T> DEVICE void store(T* p, const float (&f)[8]) { *(uint4*)p = make_uint4(pack<T>(f[0], f[1]), pack<T>(f[2], f[3]), pack<T>(f[4], f[5]), pack<T>(f[6], f[7])); }
DEVICE void store_one(float* p, float f) { *p = f; }
template <class T> DEVICE void store_one(T* p, float f) { p->bits = (uint16_t)pack<T>(f, 0.f); }
DEVICE float load_one(const float* p) { return *p; }
template <class T> DEVICE float load_one(const T* p) { return low<T>(p->bits); }

// bitsandbytes' levels (QLoRA, arXiv:2305.14314).
DEVICE float nf4_level(int code) {
  switch (code) {
    case 0: return -1.0f;
    case 1: return -0.6961928009986877f;
    case 2: return -0.5250730514526367f;
    case 3: return -0.39491748809814453f;
    case 4: return -0.28444138169288635f;
    case 5: return -0.18477343022823334f;
    case 6: return -0.09105003625154495f;
    case 7: return 0.0f;
    case 8: return 0.07958029955625534f;
    case 9: return 0.16093020141124725f;
    case 10: return 0.24611230194568634f;
    case 11: return 0.33791524171829224f;
    case 12: return 0.44070982933044434f;
    case 13: return 0.5626170039176941f;
    case 14: return 0.7229568362236023f;
  }
  return 1.0f;
}
