// Cross-entropy as crossentropy.cuh says, of rows that are read once: the blocks of a cluster hold a row in their shared
// memory. Three or more of them are on each multiprocessor, so that some read, some compute and some write.
//
// Grid: rows times the blocks of a cluster, 512 threads, 64 + 16 ceil(ceil(v/8) / blocks) + 128 bytes shared: a pair of each
// block, the row, a pair of each warp.
#include "crossentropy.cuh"
#include "hopper.cuh"

// The softmax (m, z) of all blocks of a cluster, in their order; every thread gets it. all: 8 pairs.
DEVICE void cluster_softmax(float& m, float& z, uint32_t all, int rank, int blocks) {
  if (threadIdx.x < blocks) store_shared_of(all + 8 * rank, threadIdx.x, m, z);
  cluster_sync();
  m = -1e30f, z = 0.f;
  for (int i = 0; i < blocks; i++) {
    float2 p = load_shared_pair(all + 8 * i);
    float top = fmaxf(m, p.x);
    z = z * exp2_fast((m - top) * LOG2E) + p.y * exp2_fast((p.x - top) * LOG2E);
    m = top;
  }
}

template <class T, bool CAP> DEVICE void loss_once(const LossArgs& a) {
  constexpr int N = Vector<T>::N, THREADS = 512;
  DYNAMIC_SHARED(shared);
  int blocks = gridDim.x / a.rows, row = blockIdx.x / blocks, rank = blockIdx.x % blocks, target = a.target[row];
  int vectors = (a.v + N - 1) / N, each = (vectors + blocks - 1) / blocks, first = rank * each, count = min(each, vectors - first);
  const T* x = (const T*)a.x + (int64_t)row * a.x_row;
  T* dx = (T*)a.dx + (int64_t)row * a.dx_row;
  uint32_t all = shared_address(shared), held = all + 64;
  for (int i = threadIdx.x; i < count; i += THREADS) copy16(held + 16 * i, x + (first + i) * N, true);
  copy_commit();
  float at = target >= 0 ? cap<CAP>(load_one(x + target), a.softcap) : 0.f; // before anyone overwrites it
  cluster_sync();                                                           // all have begun, and can be written to
  copy_wait<0>();
  auto vector = [&](int i) {
    uint4 w = load_shared16(held + 16 * i);
    return first + i == vectors - 1 ? mask_tail<T>(w, a.v - (first + i) * N) : w;
  };
  float top = -1e30f, z = 0.f, y[N];
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += THREADS) {
    uint4 w[1] = {vector(i)};
    top = fmaxf(top, maximum<T>(w));
  }
  float m = top > -1e30f ? cap<CAP>(top, a.softcap) : top; // a soft-cap keeps the order
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += THREADS) {
    scores<T, CAP>(y, vector(i), a.softcap);
    z += sum_exp(y, m * LOG2E);
  }
  block_softmax<THREADS / 32>(m, z, (float2*)(shared + 64 + 16 * each));
  cluster_softmax(m, z, all, rank, blocks);
  float lse2 = m * LOG2E + log2_fast(z);
  if (rank == 0 && threadIdx.x == 0) store_loss(a, row, target, lse2, at);
  if (!a.scale) return;
  float scale = target >= 0 ? (float)*a.scale : 0.f, shift = lse2 - log2_fast(scale);
#pragma unroll 4
  for (int i = threadIdx.x; i < count; i += THREADS) {
    scores<T, CAP>(y, vector(i), a.softcap);
    gradients<CAP>(y, shift, a.softcap);
    store(dx + (first + i) * N, y);
  }
  int own = target / N - first;
  if (target >= 0 && own >= 0 && own < count && own % THREADS == threadIdx.x) store_target<CAP>(dx + target, at, shift, scale, a.softcap);
}

#define KERNEL(T) \
  extern "C" __global__ void __launch_bounds__(512, 3) crossentropy_once_##T(const __grid_constant__ LossArgs a) { begin(); loss_once<T, false>(a); } \
  extern "C" __global__ void __launch_bounds__(512, 3) crossentropy_once_softcap_##T(const __grid_constant__ LossArgs a) { begin(); loss_once<T, true>(a); }
KERNEL(bf16)
KERNEL(f16)
