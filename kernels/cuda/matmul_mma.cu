// Dst = alpha op(A) op(B) + beta Dst + bias on tensor cores by mma.sync (sm_80 and later): for
// machines without cuBLASLt, and for operands that it doesn't take. A holds activations of T; B
// the same, the other 16-bit type, F32 or NF4, rounded to T as it is read; sums are F32, Dst is
// of T or F32.
//
// A block makes 128 x 128 of Dst, 32 of k at a time; its 8 warps 64 x 32 each. Operands come
// through four stages of shared memory, asynchronously where they need no conversion and
// otherwise by way of registers. Each sum runs over k in order: the same bytes every time.
// Floor: 2 m n k operations; mma.sync reaches about 60% of what Hopper's own products do.
//
// Grid (ceil(m/128) ceil(n/128)), 256 threads, 4*2*128*32*2 + 64 bytes of shared memory.
#include "common.cuh"

struct MatMulArgs {
  const void *a, *b;
  const float* absmax; // NF4: a scale for each 64 elements
  void* dst;
  const float* bias;   // [n] or null
  int64_t b_first;     // NF4: the matrix begins at this element of b
  int m, n, k;
  int a_row, b_row, dst_row; // strides; those of a and b multiples of 8, a and b aligned to 16 bytes (NF4: 4)
  int dst_f32;
  float alpha, beta;
  int unused;
};

struct nf4 {};

template <class A, class B> struct Same { static constexpr bool value = false; };
template <class A> struct Same<A, A> { static constexpr bool value = true; };

// Eight neighbours of a row of B as T; levels is the table of nf4_level.
template <class T, class B> struct Eight {
  static DEVICE uint4 load(const MatMulArgs& a, int64_t at, const float*) {
    float f[8];
    if constexpr (Same<B, float>::value) load_floats(f, (const float*)a.b + at);
    else unpack<B>(f, *(const uint4*)((const B*)a.b + at));
    return make_uint4(pack<T>(f[0], f[1]), pack<T>(f[2], f[3]), pack<T>(f[4], f[5]), pack<T>(f[6], f[7]));
  }
};
template <class T> struct Eight<T, nf4> {
  static DEVICE uint4 load(const MatMulArgs& a, int64_t at, const float* levels) {
    at += a.b_first;
    uint32_t codes = *(const uint32_t*)((const uint8_t*)a.b + at / 2);
    float scale = a.absmax[at / 64];
    uint32_t r[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      uint32_t two = codes >> (8 * i) & 255; // the high half comes first
      r[i] = pack<T>(levels[two >> 4] * scale, levels[two & 15] * scale);
    }
    return make_uint4(r[0], r[1], r[2], r[3]);
  }
};

// TA: A is stored [k, m]; TB: B is stored [n, k]. A tile lies in shared memory as its matrix does
// in memory: [128][32] where k runs fastest, else [32][128].
template <class T, class B, bool TA, bool TB> DEVICE void matmul(const MatMulArgs& a) {
  constexpr int BM = 128, BN = 128, BK = 32, THREADS = 256, STAGES = 4, TILE = BM * BK * 2;
  constexpr bool direct = Same<T, B>::value;
  DYNAMIC_SHARED(shared);
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
  uint32_t sa = shared_address(shared), sb = sa + STAGES * TILE;
  float* levels = (float*)(shared + 2 * STAGES * TILE);
  if (Same<B, nf4>::value) {
    if (thread < 16) levels[thread] = nf4_level(thread);
    __syncthreads();
  }
  // tiles that run together share operands: eight rows of tiles at a time, column after column
  int rows = (a.m + BM - 1) / BM, columns = (a.n + BN - 1) / BN, band = blockIdx.x / (8 * columns), in_band = blockIdx.x % (8 * columns);
  int height = min(rows - band * 8, 8), m0 = (band * 8 + in_band % height) * BM, n0 = in_band / height * BN;
  int steps = (a.k + BK - 1) / BK;

  auto fetch_a = [&](int step) {
    uint32_t tile = sa + step % STAGES * TILE;
    if constexpr (TA) load_tile<BK, BM, THREADS>(tile, (const T*)a.a + m0, a.a_row, step * BK, a.k, a.m - m0, thread);
    else load_tile<BM, BK, THREADS>(tile, (const T*)a.a + step * BK, a.a_row, m0, a.m, a.k - step * BK, thread);
  };
  auto fetch_b = [&](int step) {
    uint32_t tile = sb + step % STAGES * TILE;
    if constexpr (TB) load_tile<BN, BK, THREADS>(tile, (const T*)a.b + step * BK, a.b_row, n0, a.n, a.k - step * BK, thread);
    else load_tile<BK, BN, THREADS>(tile, (const T*)a.b + n0, a.b_row, step * BK, a.k, a.n - n0, thread);
  };
  // B by way of registers: two chunks of eight a thread
  constexpr int CHUNKS = (TB ? BK : BN) / 8;
  auto read_b = [&](uint4 (&v)[2], int step) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int r = (thread + i * THREADS) / CHUNKS, c = (thread + i * THREADS) % CHUNKS * 8;
      int row = TB ? n0 + r : step * BK + r, column = TB ? step * BK + c : n0 + c;
      bool ok = row < (TB ? a.n : a.k) && column < (TB ? a.k : a.n);
      v[i] = ok ? Eight<T, B>::load(a, (int64_t)row * a.b_row + column, levels) : make_uint4(0, 0, 0, 0);
    }
  };
  auto write_b = [&](const uint4 (&v)[2], int step) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int r = (thread + i * THREADS) / CHUNKS, c = (thread + i * THREADS) % CHUNKS;
      store_shared16(sb + step % STAGES * TILE + chunk_at<TB ? BK : BN>(r, c), v[i]);
    }
  };

#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) {
      fetch_a(s);
      if constexpr (direct) fetch_b(s);
      else {
        uint4 v[2];
        read_b(v, s);
        write_b(v, s);
      }
    }
    copy_commit();
  }
  float acc[4][4][4];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) acc[i][j][e] = 0.f;
  int wm = warp % 2 * 64, wn = warp / 2 * 32;
  for (int step = 0; step < steps; step++) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    int next = step + STAGES - 1;
    uint4 ahead[2];
    if (next < steps) {
      fetch_a(next);
      if constexpr (direct) fetch_b(next);
      else read_b(ahead, next);
    }
    copy_commit();
    uint32_t ta = sa + step % STAGES * TILE, tb = sb + step % STAGES * TILE;
#pragma unroll
    for (int kk = 0; kk < BK / 16; kk++) {
      uint32_t af[4][4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if constexpr (TA) load_matrix_trans(af[i], chunk_from<BM>(ta + lane_chunks_first<BM>(lane), wm / 8 + 2 * i) + kk * 16 * 2 * BM);
        else load_matrix(af[i], chunk_from<BK>(ta + lane_rows_first<BK>(lane), 2 * kk) + (wm + i * 16) * 2 * BK);
      }
#pragma unroll
      for (int j = 0; j < 2; j++) {
        uint32_t bf[4];
        if constexpr (TB) load_matrix(bf, chunk_from<BK>(tb + lane_chunks_first<BK>(lane), 2 * kk) + (wn + j * 16) * 2 * BK);
        else load_matrix_trans(bf, chunk_from<BN>(tb + lane_rows_first<BN>(lane), wn / 8 + 2 * j) + kk * 16 * 2 * BN);
#pragma unroll
        for (int i = 0; i < 4; i++) {
          mma<T>(acc[i][2 * j], af[i], bf[0], bf[1]);
          mma<T>(acc[i][2 * j + 1], af[i], bf[2], bf[3]);
        }
      }
    }
    if constexpr (!direct)
      if (next < steps) write_b(ahead, next);
  }

  auto put = [&](auto* dst, int row, int column, float x, float y) { // two neighbours
    auto* p = dst + (int64_t)row * a.dst_row + column;
    bool two = column + 1 < a.n;
    x *= a.alpha, y *= a.alpha;
    if (a.bias) x += a.bias[column], y += two ? a.bias[column + 1] : 0.f;
    if (a.beta != 0.f) x += a.beta * load_one(p), y += two ? a.beta * load_one(p + 1) : 0.f;
    store_one(p, x);
    if (two) store_one(p + 1, y);
  };
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int row = m0 + wm + i * 16 + h * 8 + g;
      if (row >= a.m) continue;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        int column = n0 + wn + j * 8 + 2 * t;
        if (column >= a.n) continue;
        if (a.dst_f32) put((float*)a.dst, row, column, acc[i][j][2 * h], acc[i][j][2 * h + 1]);
        else put((T*)a.dst, row, column, acc[i][j][2 * h], acc[i][j][2 * h + 1]);
      }
    }
}

// Names: matmul_AB_type_type: A and B, n as stored [m, k] and [k, n], t transposed.
#define KERNEL(name, T, B, ta, tb) \
  extern "C" __global__ void __launch_bounds__(256, 2) matmul_##name##_##T##_##B(const __grid_constant__ MatMulArgs a) { matmul<T, B, ta, tb>(a); }
#define FROZEN(T, B) KERNEL(nn, T, B, false, false) KERNEL(nt, T, B, false, true)
#define KERNELS(T, other) FROZEN(T, T) FROZEN(T, other) FROZEN(T, float) FROZEN(T, nf4) KERNEL(tn, T, T, true, false) KERNEL(tt, T, T, true, true)
KERNELS(bf16, f16)
KERNELS(f16, bf16)
