// Cross-entropy of a chunk of logits and its gradient, as crossentropy.cuh says.
#include "crossentropy.cuh"

// ---- A block a row, the row read twice, the second time backwards, since its end is the
// likeliest to be still in L2: any chip, any v. Grid (rows), 1024 threads, 256 bytes shared.
template <class T, bool CAP> DEVICE void loss_twice(const LossArgs& a) {
  constexpr int N = Vector<T>::N, THREADS = 1024, AHEAD = 4;
  DYNAMIC_SHARED(shared);
  int row = blockIdx.x, vectors = (a.v + N - 1) / N, target = a.target[row];
  const T* x = (const T*)a.x + (int64_t)row * a.x_row;
  T* dx = (T*)a.dx + (int64_t)row * a.dx_row;
  float at = target >= 0 ? cap<CAP>(load_one(x + target), a.softcap) : 0.f; // before anyone overwrites it
  float m = -1e30f, z = 0.f;
  for (int i = threadIdx.x; i < vectors; i += AHEAD * THREADS) {
    uint4 w[AHEAD];
    float y[N];
#pragma unroll
    for (int k = 0; k < AHEAD; k++) w[k] = load_vector(x, i + k * THREADS, vectors);
    if (i + AHEAD * THREADS >= vectors) // the row's end may be here
#pragma unroll
      for (int k = 0; k < AHEAD; k++) w[k] = mask_tail<T>(w[k], a.v - (i + k * THREADS) * N);
    float top = fmaxf(m, cap<CAP>(maximum<T>(w), a.softcap)); // a soft-cap keeps the order
    z *= exp2_fast((m - top) * LOG2E);
    m = top;
#pragma unroll
    for (int k = 0; k < AHEAD; k++) {
      scores<T, CAP>(y, w[k], a.softcap);
      z += sum_exp(y, m * LOG2E);
    }
  }
  block_softmax<THREADS / 32>(m, z, (float2*)shared);
  float lse2 = m * LOG2E + log2_fast(z);
  if (threadIdx.x == 0) store_loss(a, row, target, lse2, at);
  if (!a.scale) return;
  float scale = target >= 0 ? (float)*a.scale : 0.f, shift = lse2 - log2_fast(scale);
#pragma unroll 4
  for (int i = (vectors - 1) / THREADS * THREADS + threadIdx.x; i >= 0; i -= THREADS) {
    if (i >= vectors) continue;
    float y[N];
    uint4 w = load_vector(x, i, vectors);
    if (i == vectors - 1) w = mask_tail<T>(w, a.v - i * N);
    scores<T, CAP>(y, w, a.softcap);
    gradients<CAP>(y, shift, a.softcap);
    store(dx + i * N, y);
  }
  if (target >= 0 && target / N % THREADS == threadIdx.x) store_target<CAP>(dx + target, at, shift, scale, a.softcap);
}

#define KERNEL(T) \
  extern "C" __global__ void __launch_bounds__(1024, 2) crossentropy_plain_##T(const __grid_constant__ LossArgs a) { begin(); loss_twice<T, false>(a); } \
  extern "C" __global__ void __launch_bounds__(1024) crossentropy_softcap_##T(const __grid_constant__ LossArgs a) { begin(); loss_twice<T, true>(a); }
KERNEL(bf16)
KERNEL(f16)
