// Cross-entropy of a chunk of logits and its gradient, in place:
//
//   y = softcap tanh(x / softcap), or x without a cap
//   loss[i] = log sum exp(y[i]) - y[i][target]
//   dx[i] = scale (softmax(y[i]) - onehot(target)) dy/dx, and 0 in what a row's last vector has past v
//
// A target below 0 gives loss 0 and gradient 0. Without scale there is no gradient. Floor: one
// read and one write of the row. crossentropy_launch.go says how each kernel is launched.
#pragma once
#include "common.cuh"

struct LossArgs {
  const void* x;       // [rows, v], aligned to 16 bytes, row stride x_row a multiple of 8
  void* dx;            // likewise; may be x itself
  const int* target;
  float* loss;
  const double* scale; // one number, not negative, or null
  int rows, v, x_row, dx_row;
  float softcap;       // 0: none
};

// Elements past the end of the row become -infinity; `valid` are left of this vector's.
DEVICE uint32_t minus_infinities(bf16*) { return 0xff80ff80u; }
DEVICE uint32_t minus_infinities(f16*) { return 0xfc00fc00u; }
template <class T> DEVICE uint4 mask_tail(uint4 x, int valid) {
  constexpr int EACH = 4 / sizeof(T);
  uint32_t w[4] = {x.x, x.y, x.z, x.w}, none = minus_infinities((T*)0);
#pragma unroll
  for (int i = 0; i < 4; i++) w[i] = EACH * i >= valid ? none : EACH * i + EACH > valid ? (w[i] & 0xffff) | (none & 0xffff0000u) : w[i];
  return make_uint4(w[0], w[1], w[2], w[3]);
}
// Vector i of a row; past the end, the last one again, for mask_tail to clear.
template <class T> DEVICE uint4 load_vector(const T* x, int i, int vectors) { return *(const uint4*)(x + min(i, vectors - 1) * Vector<T>::N); }
// A logit as a score, under the soft-cap if CAP.
template <bool CAP> DEVICE float cap(float x, float softcap) { return CAP && x != NEG_INF ? softcap * tanh_fast(x * inverse_fast(softcap)) : x; }
template <class T, bool CAP, int N> DEVICE void scores(float (&y)[N], uint4 x, float softcap) {
  unpack<T>(y, x);
#pragma unroll
  for (int e = 0; e < N; e++) y[e] = cap<CAP>(y[e], softcap);
}
// The largest of W vectors, above -1e30.
template <class T> DEVICE uint32_t larger(uint32_t a, uint32_t b) { return max_pair<T>(a, b); }
template <class T, int W> DEVICE float maximum(const uint4 (&w)[W]) {
  uint32_t m = w[0].x; // not a constant: ptxas 12.4 crashes on max.bf16x2 with one
#pragma unroll
  for (int i = 0; i < W; i++) m = larger<T>(larger<T>(m, larger<T>(w[i].x, w[i].y)), larger<T>(w[i].z, w[i].w));
  return fmaxf(fmaxf(low<T>(m), high<T>(m)), -1e30f);
}
template <int N> DEVICE float sum_exp(const float (&y)[N], float c) {
  float z = 0.f;
#pragma unroll
  for (int e = 0; e < N; e += 2) z += exp2_fast(y[e] * LOG2E - c) + exp2_fast(y[e + 1] * LOG2E - c);
  return z;
}
// Scores become gradients as if none were the target's. shift is log2 of the sum of exponentials
// less that of scale, so that a scale of 0 gives zeros.
template <bool CAP> DEVICE float slope(float y, float softcap) {
  float t = y * inverse_fast(softcap);
  return CAP ? fmaxf(1.f - t * t, 0.f) : 1.f;
}
template <bool CAP, int N> DEVICE void gradients(float (&y)[N], float shift, float softcap) {
#pragma unroll
  for (int e = 0; e < N; e++) y[e] = exp2_fast(y[e] * LOG2E - shift) * slope<CAP>(y[e], softcap);
}
// The target's own gradient, by the thread that wrote its vector.
template <bool CAP, class Out> DEVICE void store_target(Out* dx, float y, float shift, float scale, float softcap) {
  store_one(dx, (exp2_fast(y * LOG2E - shift) - scale) * slope<CAP>(y, softcap));
}

// The softmax (m, z) of all threads of a block, in a fixed tree; every thread gets it.
template <int WARPS> DEVICE void block_softmax(float& m, float& z, float2* scratch) {
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  auto tree = [&]() {
#pragma unroll
    for (int i = 16; i; i >>= 1) {
      float m2 = shuffle_xor(m, i), z2 = shuffle_xor(z, i), top = fmaxf(m, m2);
      z = z * exp2_fast((m - top) * LOG2E) + z2 * exp2_fast((m2 - top) * LOG2E);
      m = top;
    }
  };
  tree();
  if (lane == 0) scratch[warp] = make_float2(m, z);
  __syncthreads();
  float2 p = lane < WARPS ? scratch[lane] : make_float2(-1e30f, 0.f);
  m = p.x, z = p.y;
  tree();
}

DEVICE void store_loss(const LossArgs& a, int row, int target, float lse2, float at) { a.loss[row] = target >= 0 ? lse2 * LN2 - at : 0.f; }
