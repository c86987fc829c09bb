// Dst = alpha op(A) op(B) + beta Dst + bias on Hopper's warpgroup products (sm_90a), A and B of one 16-bit type: for
// machines without cuBLASLt. Sums are F32, Dst is of that type or F32.
//
// A cluster of two blocks makes 256 x 256 of Dst, or 256 x 128 where those would leave the card half empty, a block 128 of its rows; both use the same columns of B, of which each
// fetches half and the copy engine writes it to both. One warp fetches, 64 of k at a time through a ring of stages; two
// warpgroups make 64 rows each. Results leave through shared memory by the copy engine, while the next tile is under way;
// F32 ones, and those that are added to what is there, directly. Blocks are persistent; tiles that run together share
// operands. Each sum runs over k in order: the same bytes every time. Floor: 2 m n k operations.
//
// Grid 2 min(tiles, multiprocessors / 2), clusters of 2, 384 threads, STAGES (128+BN) 64 2 + 128 BN + 16 STAGES bytes of shared memory.
// Boxes: 64 columns; 64 rows (dst, and operands whose rows run along k), or 128 (a) and BN/2 (b).
#include "hopper.cuh"

struct HopperMatMulArgs {
  void* dst;
  const float* bias; // [n] or null
  int m, n, k, dst_row, dst_f32;
  float alpha, beta;
  int unused[5]; // the maps lie on 64 bytes
  TensorMap a, b, c;
};

// TA: A is stored [k, m]; TB: B is stored [n, k].
template <class T, bool TA, bool TB, int BN, int STAGES> DEVICE void matmul(const HopperMatMulArgs& p) {
  constexpr int BM = 128, BK = 64, AT = BM * BK * 2, BT = BN * BK * 2, CT = 64 * (BN / 2) * 2, N = BN / 16; // N: pieces of eight columns in half a tile
  DYNAMIC_SHARED(shared);
  uint32_t stages = shared_address(shared), results = stages + STAGES * (AT + BT), bars = results + 2 * CT;
  Ring<STAGES> ring{bars, bars + 8 * STAGES};
  int rank = cluster_rank(), lane = threadIdx.x & 31, group = threadIdx.x / 128, n = 0;
  if (threadIdx.x == 0) {
    ring.init(1, 16); // both blocks' eight warps
    barrier_init_fence();
  }
  cluster_sync();
  int rows = (p.m + 2 * BM - 1) / (2 * BM), columns = (p.n + BN - 1) / BN, steps = (p.k + BK - 1) / BK;
  auto place = [&](int tile, int& m0, int& n0) { // eight rows of tiles at a time, column after column
    int band = tile / (8 * columns), in_band = tile % (8 * columns), height = min(rows - band * 8, 8);
    m0 = ((band * 8 + in_band % height) * 2 + rank) * BM, n0 = in_band / height * BN;
  };

  if (group == 0) {
    fewer_registers<24>();
    if (threadIdx.x == 0) {
      for (int tile = blockIdx.x / 2, m0, n0; tile < rows * columns; tile += gridDim.x / 2) {
        place(tile, m0, n0);
        for (int step = 0; step < steps; step++, n++) {
          uint32_t a = stages + ring.stage(n) * (AT + BT), b = a + AT + rank * BT / 2, bar = ring.full + 8 * ring.stage(n);
          int k0 = step * BK, half = n0 + rank * BN / 2;
          ring.wait_empty(n);
          barrier_expect(bar, AT + BT);
          if constexpr (TA) copy_tensor(a, &p.a, bar, m0, 0, k0, 0), copy_tensor(a + AT / 2, &p.a, bar, m0 + 64, 0, k0, 0);
          else copy_tensor(a, &p.a, bar, k0, 0, m0, 0);
          if constexpr (TB) copy_tensor_to_both(b, &p.b, bar, k0, 0, half, 0);
          else {
#pragma unroll
            for (int i = 0; i < BN / 128; i++) copy_tensor_to_both(b + i * 64 * BK * 2, &p.b, bar, half + i * 64, 0, k0, 0);
          }
        }
      }
    }
  } else {
    more_registers<240>();
    int w = group - 1, g = lane >> 2, t = lane & 3, warp = threadIdx.x / 32 % 4;
    uint32_t result = results + w * CT;
    bool first = threadIdx.x % 128 == 0;
    auto release = [&](int n) { if (lane < 2) barrier_arrive(ring.empty + 8 * ring.stage(n), lane); };
    for (int tile = blockIdx.x / 2, m0, n0; tile < rows * columns; tile += gridDim.x / 2) {
      place(tile, m0, n0);
      float acc[BN / 8][4];
      clear(acc);
      for (int step = 0; step < steps; step++, n++) {
        uint32_t a = stages + ring.stage(n) * (AT + BT), b = a + AT;
        a += w * (AT / 2); // rows of m, or a part of columns
        ring.wait_full(n);
        group_fence();
#pragma unroll
        for (int kk = 0; kk < BK / 16; kk++)
          group_mma<TA, !TB>(T(), acc, tile_word(a + kk * (TA ? 16 * 128 : 32), BK * 128), tile_word(b + kk * (TB ? 32 : 16 * 128), BK * 128), 1);
        group_commit();
        if (step > 0) {
          group_wait<1>();
          release(n - 1);
        }
      }
      group_wait<0>();
      settle(acc);
      release(n - 1);
      int row = m0 + w * 64 + warp * 16 + g;
      if (p.dst_f32 || p.beta != 0.f) {
        auto put = [&](auto* dst, int row, int column, float x) {
          if (row >= p.m || column >= p.n) return;
          auto* at = dst + (int64_t)row * p.dst_row + column;
          x *= p.alpha;
          if (p.bias) x += p.bias[column];
          if (p.beta != 0.f) x += p.beta * load_one(at);
          store_one(at, x);
        };
#pragma unroll
        for (int i = 0; i < BN / 8; i++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            int r = row + 8 * (e >> 1), column = n0 + i * 8 + 2 * t + (e & 1);
            if (p.dst_f32) put((float*)p.dst, r, column, acc[i][e]);
            else put((T*)p.dst, r, column, acc[i][e]);
          }
        continue;
      }
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (first) store_wait();
        named_barrier(1 + w, 128);
#pragma unroll
        for (int i = 0; i < N; i++) {
          const float(&x)[4] = acc[half * N + i];
          int column = n0 + (half * N + i) * 8 + 2 * t;
          float x0 = 0.f, x1 = 0.f;
          if (p.bias) x0 = column < p.n ? p.bias[column] : 0.f, x1 = column + 1 < p.n ? p.bias[column + 1] : 0.f;
          uint32_t at = result + i / 8 * 64 * 128 + (warp * 16 + g) * 128 + ((i % 8 ^ g) << 4) + t * 4;
          store_shared4(at, pack<T>(x[0] * p.alpha + x0, x[1] * p.alpha + x1));
          store_shared4(at + 8 * 128, pack<T>(x[2] * p.alpha + x0, x[3] * p.alpha + x1));
        }
        written();
        named_barrier(1 + w, 128);
        if (first) {
#pragma unroll
          for (int i = 0; i < N / 8; i++) {
            int column = n0 + half * N * 8 + i * 64;
            if (column < p.n) store_tensor(&p.c, result + i * 64 * 128, column, 0, m0 + w * 64, 0);
          }
          store_commit();
        }
      }
    }
    if (first) store_wait();
  }
  sync_warp(); // the block's barrier holds idle threads, which cluster_sync would have spin
  __syncthreads();
  cluster_sync(); // shared memory stays for what the other block sends
}

// Names: matmul_AB_columns_type: A and B, n as stored [m, k] and [k, n], t transposed.
#define KERNEL(name, T, ta, tb, columns, stages) \
  extern "C" __global__ void __launch_bounds__(384, 1) matmul_##name##_##columns##_##T(const __grid_constant__ HopperMatMulArgs p) { matmul<T, ta, tb, columns, stages>(p); }
#define STORED(T, columns, stages) \
  KERNEL(nn, T, false, false, columns, stages) KERNEL(nt, T, false, true, columns, stages) KERNEL(tn, T, true, false, columns, stages) KERNEL(tt, T, true, true, columns, stages)
#define KERNELS(T) STORED(T, 256, 4) STORED(T, 128, 6)
KERNELS(bf16)
KERNELS(f16)
