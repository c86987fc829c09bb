// RMSNorm and LayerNorm of rows that fit in a block's registers, with the residual added on the
// way, and their gradient; each reads and writes its bytes once:
//
//   norm:      sum = x + residual, rounded (sum = x without a residual, and isn't written),
//              y = (sum - mean) rstd weight + bias
//   norm_grad: dx (+)= rstd (g - mean(g) - h mean(g h)),  g = dy weight,  h = (x - mean) rstd
//
// RMSNorm is without the mean of x and that of g. A block a row, each
// thread W vectors of 16 bytes. Floors in bytes an element of 16 bits: norm 8 with a residual
// and 4 without, its gradient 8 added and 6 not. norm_launch.go says how each is launched.
#include "common.cuh"

struct NormArgs {
  const void *x, *residual, *dy;   // forward: x and residual (or null); gradient: x the sum, dy
  void *sum, *y, *dx;              // sum may be x or residual
  const float *weight, *bias;      // [cols] or null
  float *mean, *rstd;              // [rows]; mean null for RMSNorm
  int x_row, residual_row, dy_row, sum_row, y_row, dx_row; // strides
  int rows, cols;                  // cols a multiple of a vector; all aligned to 16 bytes
  int accumulate;                  // dx +=
  float eps, offset;               // rows are scaled by weight + offset
};

// The sum over a block's threads, one warp or a multiple of four, in a fixed order; scratch is
// used once.
DEVICE float block_sum(float z, float* scratch) {
#pragma unroll
  for (int i = 16; i; i >>= 1) z += shuffle_xor(z, i);
  if (blockDim.x == 32) return z;
  if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = z;
  __syncthreads();
  z = 0.f;
  for (int i = 0; i < blockDim.x / 32; i += 4) {
    float4 v = *(const float4*)(scratch + i);
    z += v.x + v.y + v.z + v.w;
  }
  return z;
}
template <int N> DEVICE void load_weight(float (&w)[N], const NormArgs& a, int c) {
#pragma unroll
  for (int e = 0; e < N; e++) w[e] = 0.f;
  if (a.weight) load_floats(w, a.weight + c);
#pragma unroll
  for (int e = 0; e < N; e++) w[e] += a.offset;
}

template <class T, int W, bool LAYER> DEVICE void norm(const NormArgs& a) {
  constexpr int N = Vector<T>::N;
  DYNAMIC_SHARED(shared);
  float* scratch = (float*)shared; // [2][32]
  int64_t row = blockIdx.x;
  uint4 v[W], r[W];
#pragma unroll
  for (int i = 0; i < W; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    v[i] = r[i] = make_uint4(0, 0, 0, 0);
    if (c >= a.cols) continue;
    v[i] = *(const uint4*)((const T*)a.x + row * a.x_row + c);
    if (a.residual) r[i] = *(const uint4*)((const T*)a.residual + row * a.residual_row + c);
  }
  float z = 0.f;
#pragma unroll
  for (int i = 0; i < W; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    float f[N], h[N];
    unpack<T>(f, v[i]);
    if (a.residual) {
      unpack<T>(h, r[i]);
#pragma unroll
      for (int e = 0; e < N; e++) f[e] += h[e];
      store((T*)&v[i], f); // what the norm sees is what the sum keeps
      unpack<T>(f, v[i]);
      if (c < a.cols) *(uint4*)((T*)a.sum + row * a.sum_row + c) = v[i];
    }
#pragma unroll
    for (int e = 0; e < N; e++) z += LAYER ? f[e] : f[e] * f[e];
  }
  z = block_sum(z, scratch) / a.cols;
  float mean = 0.f;
  if (LAYER) {
    mean = z, z = 0.f;
#pragma unroll
    for (int i = 0; i < W; i++) {
      float f[N];
      unpack<T>(f, v[i]);
      if ((threadIdx.x + i * blockDim.x) * N >= a.cols) continue;
#pragma unroll
      for (int e = 0; e < N; e++) z += (f[e] - mean) * (f[e] - mean);
    }
    z = block_sum(z, scratch + 32) / a.cols;
  }
  float rstd = rsqrtf(z + a.eps);
  if (threadIdx.x == 0) {
    a.rstd[row] = rstd;
    if (LAYER) a.mean[row] = mean;
  }
#pragma unroll
  for (int i = 0; i < W; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    if (c >= a.cols) continue;
    float f[N], w[N], b[N];
    unpack<T>(f, v[i]);
    load_weight(w, a, c);
    if (a.bias) load_floats(b, a.bias + c);
#pragma unroll
    for (int e = 0; e < N; e++) f[e] = (LAYER ? f[e] - mean : f[e]) * rstd * w[e];
    if (a.bias)
#pragma unroll
      for (int e = 0; e < N; e++) f[e] += b[e];
    store((T*)a.y + row * a.y_row + c, f);
  }
}

template <class T, int W, bool LAYER> DEVICE void norm_grad(const NormArgs& a) {
  constexpr int N = Vector<T>::N;
  DYNAMIC_SHARED(shared);
  float* scratch = (float*)shared;
  int64_t row = blockIdx.x;
  uint4 x[W], g[W], d[W];
#pragma unroll
  for (int i = 0; i < W; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    x[i] = g[i] = d[i] = make_uint4(0, 0, 0, 0);
    if (c >= a.cols) continue;
    x[i] = *(const uint4*)((const T*)a.x + row * a.x_row + c);
    g[i] = *(const uint4*)((const T*)a.dy + row * a.dy_row + c);
    if (a.accumulate) d[i] = *(const uint4*)((const T*)a.dx + row * a.dx_row + c);
  }
  float rstd = a.rstd[row], mean = LAYER ? a.mean[row] : 0.f, z = 0.f, s = 0.f;
#pragma unroll
  for (int i = 0; i < W; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    if (c >= a.cols) continue;
    float f[N], h[N], w[N];
    unpack<T>(f, x[i]);
    unpack<T>(h, g[i]);
    load_weight(w, a, c);
#pragma unroll
    for (int e = 0; e < N; e++) h[e] *= w[e], z += (LAYER ? f[e] - mean : f[e]) * h[e], s += LAYER ? h[e] : 0.f;
  }
  z = block_sum(z, scratch) * rstd * rstd / a.cols;
  s = LAYER ? block_sum(s, scratch + 32) / a.cols : 0.f;
#pragma unroll
  for (int i = 0; i < W; i++) {
    int c = (threadIdx.x + i * blockDim.x) * N;
    if (c >= a.cols) continue;
    float f[N], h[N], w[N], o[N];
    unpack<T>(f, x[i]);
    unpack<T>(h, g[i]);
    unpack<T>(o, d[i]);
    load_weight(w, a, c);
#pragma unroll
    for (int e = 0; e < N; e++) o[e] += rstd * (h[e] * w[e] - s - (LAYER ? f[e] - mean : f[e]) * z);
    store((T*)a.dx + row * a.dx_row + c, o);
  }
}

#define KERNEL(name, body, T, w, layer) \
  extern "C" __global__ void __launch_bounds__(1024) name##_##w##_##T(const __grid_constant__ NormArgs a) { begin(); body<T, w, layer>(a); }
#define KERNELS(T, w) \
  KERNEL(rms, norm, T, w, false) \
  KERNEL(rms_grad, norm_grad, T, w, false) \
  KERNEL(layer, norm, T, w, true) \
  KERNEL(layer_grad, norm_grad, T, w, true)
KERNELS(bf16, 1)
KERNELS(bf16, 2)
KERNELS(f16, 1)
KERNELS(f16, 2)
KERNELS(float, 1)
KERNELS(float, 2)
