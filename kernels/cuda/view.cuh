// Matrices and heads of any element type, as kernels.Mat and kernels.Heads describe them:
// for kernels that are simple before they are fast.
#pragma once
#include "common.cuh"

#define INF_F32 __uint_as_float(0x7f800000u)
#define NAN_F32 __uint_as_float(0x7fc00000u)

#ifdef EMULATE
inline uint32_t shuffle_bits(uint32_t v, int lane) {
  struct Arg { uint32_t in, out; } me{v, v};
  emu::warp(&me, [lane](void** s) { for (int l = 0; l < 32; l++) ((Arg*)s[l])->out = ((Arg*)s[lane])->in; });
  return me.out;
}
#else
DEVICE uint32_t shuffle_bits(uint32_t v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
#endif
DEVICE float shuffle(float v, int lane) { return __uint_as_float(shuffle_bits(__float_as_uint(v), lane)); }

enum Type : int { F32, BF16, F16, NF4 };

// Element (i, j) is number off + i stride + j of the buffer. NF4 buffers have scales.
struct View {
  char* data;
  const float* scales;
  int64_t off, stride;
  int rows, cols;
  Type type;
  int unused;
};

DEVICE float load(const char* data, const float* scales, Type type, int64_t n) {
  switch (type) {
    case F32: return ((const float*)data)[n];
    case BF16: return low<bf16>(((const uint16_t*)data)[n]);
    case F16: return low<f16>(((const uint16_t*)data)[n]);
    default: {
      int two = ((const uint8_t*)data)[n / 2];
      return nf4_level(n % 2 ? two & 15 : two >> 4) * scales[n / 64];
    }
  }
}

DEVICE void store(char* data, Type type, int64_t n, float x) {
  switch (type) {
    case F32: ((float*)data)[n] = x; break;
    case BF16: ((uint16_t*)data)[n] = (uint16_t)pack<bf16>(x, 0); break;
    default: ((uint16_t*)data)[n] = (uint16_t)pack<f16>(x, 0);
  }
}

DEVICE float get(const View& v, int64_t i, int64_t j) { return load(v.data, v.scales, v.type, v.off + i * v.stride + j); }
DEVICE void put(const View& v, int64_t i, int64_t j, float x) { store(v.data, v.type, v.off + i * v.stride + j, x); }

// Each element of a matrix once, over a grid of (columns, rows).
#define EACH(v, i, j)                                          \
  for (int64_t i = blockIdx.y; i < (v).rows; i += gridDim.y)   \
    for (int64_t j = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; j < (v).cols; j += (int64_t)gridDim.x * blockDim.x)

// Heads is a [rows, n, dim] view: head h of row r starts at off + r row_stride + h head_stride.
struct HeadsView {
  char* data;
  int64_t off, row_stride, head_stride;
  int n, dim;
  Type type;
  int unused;
};

DEVICE int64_t head_at(const HeadsView& v, int64_t row, int head) { return v.off + row * v.row_stride + head * v.head_stride; }
DEVICE float get(const HeadsView& v, int64_t at) { return load(v.data, 0, v.type, at); }
DEVICE void put(const HeadsView& v, int64_t at, float x) { store(v.data, v.type, at, x); }

DEVICE float warp_sum(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x += shuffle_xor(x, mask);
  return x;
}
DEVICE float warp_max(float x) {
  for (int mask = 16; mask > 0; mask /= 2) x = fmaxf(x, shuffle_xor(x, mask));
  return x;
}

// The sum or maximum over a block of up to 1024 threads, a multiple of 32; every thread gets it.
// shared holds 32 values and may be used again at once.
DEVICE float block_sum(float x, float* shared) {
  x = warp_sum(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = 0;
  for (int w = 0; w < blockDim.x / 32; w++) x += shared[w];
  return x;
}
DEVICE float block_max(float x, float* shared) {
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
  for (int w = 1; w < blockDim.x / 32; w++) x = fmaxf(x, shared[w]);
  return x;
}
