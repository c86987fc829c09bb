// LoRA's thin products: one side is a large matrix that is read once, the other a rank of 16 to
// 64. Layers that share an input go together: the rank is made of groups of up to 16, each with
// matrices of its own, so that x is read once for q, k and v.
//
//   lora_down: u_g = mask(x) A_g^T          forward, and the recomputation
//   lora_both: du = dy B, db = dy^T u       backward, from one read of dy
//   lora_tall: dA_g = du_g^T mask(x)        backward
//   lora_add:  dst += mask(sum_g u_g W_g)   W_g = B_g^T forward, A_g backward
//
// A and B are F32, rounded as they are read; sums are F32 in a fixed order: blocks write partial
// results, lora_sum adds them up, and puts A and B beside a frozen weight for products that take both in one. Floors: 2 bytes an element of x or dy, 4 of dst. The mask is
// read as bits, an element each, that lora_mask makes once (notebook: made inside, it costs more
// than the bytes). lora_launch.go says how each kernel is launched.
#include "lora.cuh"
#include "mask.cuh"

constexpr int GROUPS = 4;

struct LoRAArgs {
  const void* x;            // down, tall: x [m,n]; both: dy [m,n]; add: null
  void* dst;                // add: [m,n]
  const uint32_t* mask;     // bit i of word w: element 32 w + i of [m,n] is kept; or null
  float *part, *part_b;     // down: [ceil(n/512)][m][R]; tall: [ceil(m/rows)][n][R]; both: these two; R = 16 groups
  const float* w[GROUPS];   // down, add backward: A_g [rank,n]; both, add forward: B_g [n,rank]
  const void* u[GROUPS];    // tall, both, add: [m,rank] of T
  int u_row[GROUPS], w_row[GROUPS], rank[GROUPS]; // strides; rank 8 or 16
  float scale[GROUPS];      // add: W_g is multiplied by it
  int m, n, x_row, dst_row, rows, groups; // rows: of m that a block takes (down, tall, both)
};

// Layers whose dy lie apart or side by side, in one call: layer i's blocks begin with first[i].
constexpr int LAYERS = 3;
struct LoRABothArgs {
  LoRAArgs layer[LAYERS];
  int first[LAYERS], layers;
};

// ---- down, tall and both. A block owns columns of x, from the block-th NC on, and `rows` rows; each of its 8 warps has
// 64 of the columns and STEP rows at a time, which come through shared memory. down: all warps have the same rows, and
// each one's share of u is added to the others' every step. tall: the columns' results stay in registers for all rows;
// alone, warps share 128 columns in fours and add up at the end, so that blocks leave a quarter of the parts.
template <class T, int G, int STEP, int STAGES, bool DOWN, bool TALL, bool MASK> DEVICE void thin(const LoRAArgs& a, int block) {
  constexpr int WARPS = 8, ALONG = DOWN ? 1 : 4, WC = 64, NC = WARPS / ALONG * WC, ROWS = ALONG * STEP, R = 16 * G;
  constexpr int SLAB = STEP * 2 * WC, UROW = 2 * R, UT = TALL ? ROWS * UROW : 0, STAGE = WARPS * SLAB + UT;
  constexpr int MT = STEP / 16, RED = STEP * R; // floats that a warp gives to the sum
  static_assert(!(DOWN && TALL && MASK), "dy has no mask");
  DYNAMIC_SHARED(shared);
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
  int along = warp % ALONG; // which STEP of a step's rows are the warp's
  int col0 = block * NC + warp / ALONG * WC, m0 = blockIdx.y * a.rows, m1 = min(m0 + a.rows, a.m), steps = (m1 - m0 + ROWS - 1) / ROWS;
  uint32_t base = shared_address(shared), copy = base + STAGES * STAGE + warp * SLAB;
  float* red = (float*)(shared + STAGES * STAGE + (MASK ? WARPS * SLAB : 0)); // [2][WARPS][STEP][R]

  auto fetch = [&](int step) {
    int row0 = m0 + step * ROWS, mine = row0 + along * STEP;
    uint32_t at = base + step % STAGES * STAGE;
#pragma unroll
    for (int i = 0; i < STEP / 4; i++) {
      int r = i * 4 + (lane >> 3), c = lane & 7;
      bool ok = mine + r < m1 && col0 + c * 8 < a.n;
      copy16(at + warp * SLAB + chunk_at<WC>(r, c), (const T*)a.x + (ok ? (int64_t)(mine + r) * a.x_row + col0 + c * 8 : 0), ok);
    }
    if constexpr (TALL) {
      for (int i = thread; i < ROWS * 2 * G; i += WARPS * 32) {
        int r = i / (2 * G), c = i % (2 * G), group = c / 2;
        bool ok = row0 + r < m1 && c % 2 * 8 < a.rank[group];
        copy16(at + WARPS * SLAB + chunk_at<R>(r, c), (const T*)a.u[group] + (ok ? (int64_t)(row0 + r) * a.u_row[group] + c % 2 * 8 : 0), ok);
      }
    }
  };
#pragma unroll
  for (int s = 0; s < STAGES - 1; s++) {
    if (s < steps) fetch(s);
    copy_commit();
  }

  // this warp's columns of A, or rows of B, as right operands for the whole run
  uint32_t wf[DOWN ? G : 1][WC / 16][4];
  if constexpr (DOWN) {
    static_assert(2 * RED * 4 >= OPERAND, "room for a group");
#pragma unroll
    for (int m = 0; m < G; m++) right_operand<T, TALL>(wf[m], shared_address(red + warp * 2 * RED), a.w[m], a.w_row[m], a.rank[m], col0, a.n, lane);
  }
  float tall[TALL ? WC / 16 : 1][2 * G][4];
  clear(tall);

  auto write_sum = [&](int step) {
    sum_shares<WARPS, STEP, R>(a.part, red + (step & 1) * WARPS * RED, thread, (int64_t)block * a.m, m0 + step * STEP, m1);
  };
  uint32_t bits[STEP / 4]; // of the step to come, read ahead: a byte for 8 columns
  auto read_ahead = [&](int step) {
#pragma unroll
    for (int i = 0; i < STEP / 4; i++) {
      int row = m0 + step * ROWS + along * STEP + i * 4 + (lane >> 3), column = col0 + (lane & 7) * 8;
      bits[i] = row < m1 && column < a.n ? ((const uint8_t*)a.mask)[((int64_t)row * a.n + column) / 8] : 0;
    }
  };
  if (MASK) read_ahead(0);
  for (int step = 0; step < steps; step++) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);
    copy_commit();
    if (DOWN && step > 0) write_sum(step - 1);
    uint32_t at = base + step % STAGES * STAGE, x = at + warp * SLAB;
    if constexpr (MASK) {
#pragma unroll
      for (int i = 0; i < STEP / 4; i++) {
        int r = i * 4 + (lane >> 3), c = lane & 7;
        store_shared16(copy + chunk_at<WC>(r, c), masked(load_shared16(x + chunk_at<WC>(r, c)), bits[i]));
      }
      sync_warp();
      x = copy;
      read_ahead(step + 1);
    }
    if constexpr (DOWN) {
#pragma unroll
      for (int i = 0; i < MT; i++) {
        float u[2 * G][4];
#pragma unroll
        for (int n = 0; n < 2 * G; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) u[n][e] = 0.f;
#pragma unroll
        for (int k = 0; k < WC / 16; k++) {
          uint32_t xf[4];
          load_matrix(xf, chunk_from<WC>(x + lane_rows_first<WC>(lane), 2 * k) + i * 16 * 2 * WC);
#pragma unroll
          for (int m = 0; m < G; m++) {
            mma<T>(u[2 * m], xf, wf[m][k][0], wf[m][k][1]);
            mma<T>(u[2 * m + 1], xf, wf[m][k][2], wf[m][k][3]);
          }
        }
        put_share<R>(red + ((step & 1) * WARPS + warp) * RED, u, i * 16, lane);
      }
    }
    if constexpr (TALL) {
#pragma unroll
      for (int k = 0; k < MT; k++)
#pragma unroll
        for (int m = 0; m < G; m++) {
          uint32_t uf[4];
          load_matrix_trans(uf, chunk_from<R>(at + WARPS * SLAB + lane_rows_first<R>(lane), 2 * m) + (along * STEP + k * 16) * UROW);
#pragma unroll
          for (int i = 0; i < WC / 16; i++) {
            uint32_t xf[4];
            load_matrix_trans(xf, chunk_from<WC>(x + lane_chunks_first<WC>(lane), 2 * i) + k * 16 * 2 * WC);
            mma<T>(tall[i][2 * m], xf, uf[0], uf[1]);
            mma<T>(tall[i][2 * m + 1], xf, uf[2], uf[3]);
          }
        }
    }
    if (MASK) sync_warp(); // before the copy is written again
  }
  if constexpr (DOWN) {
    __syncthreads();
    if (steps > 0) write_sum(steps - 1);
  }
  if constexpr (TALL && ALONG > 1) { // a group at a time
    float* shares = (float*)shared;  // [WARPS][WC][16]
    copy_wait<0>();
#pragma unroll
    for (int m = 0; m < G; m++) {
      __syncthreads();
#pragma unroll
      for (int i = 0; i < WC / 16; i++)
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
          for (int h = 0; h < 2; h++)
            *(float2*)(shares + (warp * WC + i * 16 + h * 8 + g) * 16 + n * 8 + 2 * t) = make_float2(tall[i][2 * m + n][2 * h], tall[i][2 * m + n][2 * h + 1]);
      __syncthreads();
      for (int i = thread; i < NC * 4; i += WARPS * 32) {
        int c = i / 4, rank = i % 4 * 4, column = block * NC + c;
        const float* share = shares + (c / WC * ALONG * WC + c % WC) * 16 + rank;
        float4 z = *(const float4*)share;
#pragma unroll
        for (int w = 1; w < ALONG; w++) {
          float4 x = *(const float4*)(share + w * WC * 16);
          z.x += x.x, z.y += x.y, z.z += x.z, z.w += x.w;
        }
        if (column < a.n) *(float4*)(a.part + ((int64_t)blockIdx.y * a.n + column) * R + m * 16 + rank) = z;
      }
    }
  } else if constexpr (TALL) {
    float* part = DOWN ? a.part_b : a.part;
#pragma unroll
    for (int i = 0; i < WC / 16; i++)
#pragma unroll
      for (int n = 0; n < 2 * G; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int column = col0 + i * 16 + h * 8 + g;
          if (column < a.n) *(float2*)(part + ((int64_t)blockIdx.y * a.n + column) * R + n * 8 + 2 * t) = make_float2(tall[i][n][2 * h], tall[i][n][2 * h + 1]);
        }
  }
}

// ---- What the kernels above leave in parts is added up, and LoRA's weights are put where a product
// reads them beside a frozen one: all of it for layers that share an input in one launch, each sum's and
// each put's blocks behind the last one's. 256 threads.
constexpr int SUMS = 7, PUTS = 7;

// out = scale sum of 16 columns of partial results [parts][rows][width] from column first on; also, and what is added
// transposed, are multiplied by row_scale + offset of their row. A block makes 256 / slices times four columns, in
// slices (1 to 16) of the parts that are then added in their order.
enum { SUM_STORE, SUM_ADD, SUM_ADD_TRANSPOSED }; // [rows, rank] of T; += [rows, rank] of F32; += [rank, rows]
struct LoRASum {
  const float* part;
  void *out, *also;       // also: a second place, or null
  const float* row_scale; // or null: zeros
  int rows, width, first, parts, out_row, also_row, rank, kind, slices;
  float scale, offset;
};
// to [rows, cols] of T = scale from in rows begin to end-1, 0 in the others; element (begin + i, j)
// is at i from_row + j from_column.
//
// A bias is columns of the product too: TERMS ones beside x, and beside the weight as many numbers of T whose sum is the
// bias: what is left of it once the ones before were taken away, which is nothing after three. The place for a term is
// the column, or the row if from_row is 0.
enum { PUT_WEIGHTS, PUT_ONES, PUT_BIAS };
constexpr int TERMS = 3;
struct LoRAPut {
  const float* from;
  void* to;
  int rows, cols, begin, end, from_row, from_column, to_row;
  float scale;
  int kind, unused;
};
template <class T> DEVICE float bias_term(float bias, int n) {
  for (int i = 0; i < n; i++) bias -= low<T>(pack<T>(bias, 0.f));
  return n < TERMS ? bias : 0.f;
}
struct LoRASumArgs {
  LoRASum sums[SUMS];
  LoRAPut puts[PUTS];
  int first[SUMS + PUTS]; // block of each sum, and of each put behind them
  int n_sums, n_puts;
};
template <class T> DEVICE void sum(const LoRASum& a, int block) {
  __shared__ float4 slices[256];
  int items = 256 / a.slices, rows = items / 4, item = threadIdx.x % items, slice = threadIdx.x / items;
  int64_t first_row = (int64_t)block * rows, row = first_row + item / 4;
  int column = item % 4 * 4;
  float4 z = make_float4(0.f, 0.f, 0.f, 0.f);
  if (row < a.rows && column < a.rank) {
    const float* p = a.part + row * a.width + a.first + column;
#pragma unroll 8
    for (int s = slice; s < a.parts; s += a.slices) {
      float4 x = *(const float4*)(p + (int64_t)s * a.rows * a.width);
      z.x += x.x, z.y += x.y, z.z += x.z, z.w += x.w;
    }
  }
  slices[threadIdx.x] = z;
  __syncthreads();
  if (slice) return;
  if (a.kind == SUM_ADD_TRANSPOSED) { // neighbours write neighbours
    row = first_row + item % rows, column = item / rows * 4;
    item = item % rows * 4 + item / rows;
  }
  if (row >= a.rows || column >= a.rank) return;
  z = slices[item];
  for (int s = 1; s < a.slices; s++) {
    float4 x = slices[s * items + item];
    z.x += x.x, z.y += x.y, z.z += x.z, z.w += x.w;
  }
  float f[4] = {z.x * a.scale, z.y * a.scale, z.z * a.scale, z.w * a.scale}, of_row = (a.row_scale ? a.row_scale[row] : 0.f) + a.offset;
  if (a.kind == SUM_STORE) store((T*)a.out + row * a.out_row + column, f);
  if (a.kind != SUM_ADD)
#pragma unroll
    for (int e = 0; e < 4; e++) f[e] *= of_row;
  if (a.kind == SUM_STORE) {
    if (a.also) store((T*)a.also + row * a.also_row + column, f);
    return;
  }
  float* out = (float*)a.out;
#pragma unroll
  for (int e = 0; e < 4; e++) out[a.kind == SUM_ADD ? row * a.out_row + column + e : (int64_t)(column + e) * a.out_row + row] += f[e];
}
template <class T> DEVICE void put(const LoRAPut& a, int block) {
  int across = a.cols / 4;
  int64_t i = (int64_t)block * 256 + threadIdx.x;
  if (i >= (int64_t)a.rows * across) return;
  int row = i / across, column = i % across * 4;
  float f[4] = {0.f, 0.f, 0.f, 0.f};
  if (row >= a.begin && row < a.end)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      if (a.kind == PUT_ONES) {
        f[e] = column + e < TERMS ? 1.f : 0.f;
        continue;
      }
      float x = a.from[(int64_t)(row - a.begin) * a.from_row + (int64_t)(column + e) * a.from_column];
      f[e] = a.kind == PUT_BIAS ? bias_term<T>(x, a.from_row ? column + e : row) : a.scale * x;
    }
  store((T*)a.to + (int64_t)row * a.to_row + column, f);
}
template <class T> DEVICE void sums_and_puts(const LoRASumArgs& a) {
  int i = 0, block = blockIdx.x;
  while (i + 1 < a.n_sums + a.n_puts && block >= a.first[i + 1]) i++;
  if (i < a.n_sums) sum<T>(a.sums[i], block - a.first[i]);
  else put<T>(a.puts[i - a.n_sums], block - a.first[i]);
}

// The four lanes of a row swap: four words of column pairs at four places become four
// neighbouring pairs at one, and back.
DEVICE void swap4(uint32_t (&r)[4], int t) {
#pragma unroll
  for (int x = 1; x <= 2; x <<= 1)
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (!(i & x)) {
        uint32_t got = __float_as_uint(shuffle_xor(__uint_as_float(t & x ? r[i] : r[i | x]), x));
        if (t & x) r[i] = got;
        else r[i | x] = got;
      }
}

// ---- add: a block makes 128 rows x 64 columns, a warp 16 of the rows. UP: W_g = B_g^T, stored
// [n, rank], else A_g [rank, n]. Grid (ceil(n/64), ceil(m/128)).
template <class T, int G, bool UP, bool MASK> DEVICE void add(const LoRAArgs& a) {
  constexpr int R = 16 * G;
  DYNAMIC_SHARED(tile); // [R][64], UP: [64][R]
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane >> 2, t = lane & 3;
  int col0 = blockIdx.x * 64, row = blockIdx.y * 128 + warp * 16 + g;
  uint32_t d[2][2][4]; // 16 bytes of rows row, row+8 and columns 8 t, 32 + 8 t
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int q = 0; q < 2; q++) {
      int c = col0 + q * 32 + t * 8;
      uint4 v = row + 8 * h < a.m && c < a.n ? *(const uint4*)((const T*)a.dst + (int64_t)(row + 8 * h) * a.dst_row + c) : make_uint4(0, 0, 0, 0);
      d[h][q][0] = v.x, d[h][q][1] = v.y, d[h][q][2] = v.z, d[h][q][3] = v.w;
    }
  uint32_t uf[G][4], bits[2][2]; // of this row: byte n%4 of word n/4 is 8-column tile n
#pragma unroll
  for (int m = 0; m < G; m++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      int r = row + (e & 1) * 8, c = (e >> 1) * 8;
      uf[m][e] = r < a.m && c < a.rank[m] ? *(const uint32_t*)((const T*)a.u[m] + (int64_t)r * a.u_row[m] + c + 2 * t) : 0;
    }
#pragma unroll
  for (int h = 0; h < 2; h++) {
    uint2 v = MASK && row + 8 * h < a.m ? *(const uint2*)(a.mask + ((int64_t)(row + 8 * h) * a.n + col0) / 32) : make_uint2(0, 0);
    bits[h][0] = v.x, bits[h][1] = v.y;
  }
  for (int i = threadIdx.x; i < R * 8; i += 256) {
    uint32_t at = shared_address(tile);
    if constexpr (UP) {
      int r = i / (2 * G), c = i % (2 * G), m = c / 2;
      bool ok = col0 + r < a.n && c % 2 * 8 < a.rank[m];
      store_shared16(at + chunk_at<R>(r, c), rounded8<T>(a.w[m] + (int64_t)(col0 + r) * a.w_row[m] + c % 2 * 8, ok, a.scale[m]));
    } else {
      int r = i / 8, c = i % 8, m = r / 16;
      bool ok = r % 16 < a.rank[m] && col0 + c * 8 < a.n;
      store_shared16(at + chunk_at<64>(r, c), rounded8<T>(a.w[m] + (int64_t)(r % 16) * a.w_row[m] + col0 + c * 8, ok, a.scale[m]));
    }
  }
  __syncthreads();
  float sum[8][4];
#pragma unroll
  for (int n = 0; n < 8; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) sum[n][e] = 0.f;
#pragma unroll
  for (int m = 0; m < G; m++)
#pragma unroll
    for (int n = 0; n < 4; n++) {
      uint32_t bf[4];
      if constexpr (UP) load_matrix(bf, chunk_from<R>(shared_address(tile) + lane_chunks_first<R>(lane), 2 * m) + n * 16 * 2 * R);
      else load_matrix_trans(bf, chunk_from<64>(shared_address(tile) + lane_rows_first<64>(lane), 2 * n) + m * 16 * 128);
      mma<T>(sum[2 * n], uf[m], bf[0], bf[1]);
      mma<T>(sum[2 * n + 1], uf[m], bf[2], bf[3]);
    }
  if constexpr (MASK) {
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++)
        if (!(bits[e >> 1][n >> 2] >> ((n & 3) * 8 + 2 * t + (e & 1)) & 1)) sum[n][e] = 0.f;
  }
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int q = 0; q < 2; q++) {
      int c = col0 + q * 32 + t * 8;
      uint32_t(&v)[4] = d[h][q];
      swap4(v, t); // now word i: columns 2 t, 2 t + 1 of tile 4 q + i
#pragma unroll
      for (int i = 0; i < 4; i++) v[i] = pack<T>(low<T>(v[i]) + sum[4 * q + i][2 * h], high<T>(v[i]) + sum[4 * q + i][2 * h + 1]);
      swap4(v, t);
      if (row + 8 * h < a.m && c < a.n) *(uint4*)((T*)a.dst + (int64_t)(row + 8 * h) * a.dst_row + c) = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

// ---- the mask's bits: a word a thread. Grid covers words threads of 256.
struct LoRAMaskArgs {
  uint32_t* mask;
  const uint64_t* key; // of the micro-batch
  uint64_t module;
  int64_t words;
  int keep, unused;    // of 256
};
extern "C" __global__ void __launch_bounds__(256) lora_mask(const __grid_constant__ LoRAMaskArgs a) {
  begin();
  int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
  if (i < a.words) a.mask[i] = mask_bits(module_key(*a.key, a.module), i, a.keep);
}

#define KERNEL(name, T, g, blocks, Args, body) \
  extern "C" __global__ void __launch_bounds__(256, blocks) lora_##name##_##g##_##T(const __grid_constant__ Args a) { begin(); body; }
#define THIN(T, g, blocks) \
  KERNEL(down, T, g, blocks, LoRAArgs, (thin<T, g, 16, 4, true, false, false>(a, blockIdx.x))) \
  KERNEL(down_masked, T, g, blocks, LoRAArgs, (thin<T, g, 16, 4, true, false, true>(a, blockIdx.x))) \
  KERNEL(tall, T, g, blocks, LoRAArgs, (thin<T, g, 16, 4, false, true, false>(a, blockIdx.x))) \
  KERNEL(tall_masked, T, g, blocks, LoRAArgs, (thin<T, g, 16, 4, false, true, true>(a, blockIdx.x))) \
  KERNEL(up, T, g, 2, LoRAArgs, (add<T, g, true, false>(a))) \
  KERNEL(add, T, g, 2, LoRAArgs, (add<T, g, false, false>(a))) \
  KERNEL(add_masked, T, g, 2, LoRAArgs, (add<T, g, false, true>(a)))
template <class T> DEVICE void both_of_layers(const LoRABothArgs& a) {
  int i = 0;
  while (i + 1 < a.layers && (int)blockIdx.x >= a.first[i + 1]) i++;
  thin<T, 1, 16, 4, true, true, false>(a.layer[i], blockIdx.x - a.first[i]);
}
#define KERNELS(T) \
  THIN(T, 1, 2) THIN(T, 2, 1) THIN(T, 3, 1) THIN(T, 4, 1) \
  KERNEL(both, T, 1, 2, LoRAArgs, (thin<T, 1, 16, 4, true, true, false>(a, blockIdx.x))) \
  KERNEL(both_of_layers, T, 1, 2, LoRABothArgs, (both_of_layers<T>(a))) \
  KERNEL(both, T, 2, 1, LoRAArgs, (thin<T, 2, 16, 4, true, true, false>(a, blockIdx.x))) \
  extern "C" __global__ void __launch_bounds__(256) lora_sum_##T(const __grid_constant__ LoRASumArgs a) { begin(); sums_and_puts<T>(a); }
KERNELS(bf16)
KERNELS(f16)
