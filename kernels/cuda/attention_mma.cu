// Causal attention with grouped query heads, forward and backward, in tiles on mma.sync
// (sm_80 and later): 16-bit in and out, F32 sums, nothing of size queries x keys kept
// (FlashAttention-2, arXiv:2307.08691), no atomics: the same inputs give the same bytes.
//
// The backward pass is delta = rowsum(dout * out), then dq, then dk and dv: both compute the
// scores again, so that each result is one block's own sum in a fixed order. A query that
// sees one key alone gets a gradient of exactly 0.
//
// Operations: forward 4 dim for each visible pair, backward 10 dim (14 in two passes). Bytes
// matter only where a sequence is a few hundred long. attention_launch.go says how each
// kernel is launched; attention.cuh what it takes.
#include "attention.cuh"

template <int A, int B> DEVICE void clear(float (&x)[A][B][4]) {
#pragma unroll
  for (int a = 0; a < A; a++)
#pragma unroll
    for (int b = 0; b < B; b++)
#pragma unroll
      for (int e = 0; e < 4; e++) x[a][b][e] = 0.f;
}

// acc[MT*16 x N] += A[MT*16 x D] B[N x D]^T, both tiles in shared memory; a and b are lane
// addresses (rows first, chunks first).
template <class T, int D, int MT, int N> DEVICE void multiply_rows(float (&acc)[MT][N / 8][4], uint32_t a, uint32_t b) {
#pragma unroll
  for (int ks = 0; ks < D / 16; ks++) {
    uint32_t af[MT][4];
#pragma unroll
    for (int m = 0; m < MT; m++) load_matrix(af[m], chunk_from<D>(a, 2 * ks) + m * 16 * 2 * D);
#pragma unroll
    for (int n = 0; n < N / 16; n++) {
      uint32_t bf[4];
      load_matrix(bf, chunk_from<D>(b, 2 * ks) + n * 16 * 2 * D);
#pragma unroll
      for (int m = 0; m < MT; m++) {
        mma<T>(acc[m][2 * n], af[m], bf[0], bf[1]);
        mma<T>(acc[m][2 * n + 1], af[m], bf[2], bf[3]);
      }
    }
  }
}
// The same with A already in registers.
template <class T, int D, int MT, int N> DEVICE void multiply_rows(float (&acc)[MT][N / 8][4], const uint32_t (&a)[D / 16][MT][4], uint32_t b) {
#pragma unroll
  for (int ks = 0; ks < D / 16; ks++)
#pragma unroll
    for (int n = 0; n < N / 16; n++) {
      uint32_t bf[4];
      load_matrix(bf, chunk_from<D>(b, 2 * ks) + n * 16 * 2 * D);
#pragma unroll
      for (int m = 0; m < MT; m++) {
        mma<T>(acc[m][2 * n], a[ks][m], bf[0], bf[1]);
        mma<T>(acc[m][2 * n + 1], a[ks][m], bf[2], bf[3]);
      }
    }
}
// acc[MT*16 x C] += P[MT*16 x K] B[K x C], P in registers, B the C columns from chunk c0 on of
// a tile (rows first).
template <class T, int D, int MT, int K, int C> DEVICE void multiply_columns(float (&acc)[MT][C / 8][4], const uint32_t (&p)[MT][K / 16][4], uint32_t b, int c0 = 0) {
#pragma unroll
  for (int kk = 0; kk < K / 16; kk++)
#pragma unroll
    for (int n = 0; n < C / 16; n++) {
      uint32_t bf[4];
      load_matrix_trans(bf, chunk_from<D>(b, c0 + 2 * n) + kk * 16 * 2 * D);
#pragma unroll
      for (int m = 0; m < MT; m++) {
        mma<T>(acc[m][2 * n], p[m][kk], bf[0], bf[1]);
        mma<T>(acc[m][2 * n + 1], p[m][kk], bf[2], bf[3]);
      }
    }
}
// Products as the next product's left operand: the layouts agree, only the type changes.
template <class T, int MT, int N> DEVICE void as_operand(uint32_t (&p)[MT][N / 16][4], const float (&s)[MT][N / 8][4]) {
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int n = 0; n < N / 16; n++) {
      p[m][n][0] = pack<T>(s[m][2 * n][0], s[m][2 * n][1]);
      p[m][n][1] = pack<T>(s[m][2 * n][2], s[m][2 * n][3]);
      p[m][n][2] = pack<T>(s[m][2 * n + 1][0], s[m][2 * n + 1][1]);
      p[m][n][3] = pack<T>(s[m][2 * n + 1][2], s[m][2 * n + 1][3]);
    }
}
// Products q.k become tanh(inner q.k), which the soft-cap then multiplies.
template <int MT, int N> DEVICE void squash(float (&s)[MT][N][4], float inner) {
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) s[m][n][e] = tanh_fast(s[m][n][e] * inner);
}
// CAP: a kernel knows soft-caps, which cost registers: those of width 256 do, for heads of any size.
// What a product q.k, or its tanh, is multiplied by to be a score for exp2.
DEVICE float score_factor(const AttentionArgs& a) { return (a.softcap > 0.f ? a.softcap : a.scale) * LOG2E; }

// Writes a warp's MT*16 x C result, rows of factor[m][0|1], to columns from 8 c0 on, through
// its own rows of a tile that nobody else reads any more, in 16-byte stores. row0 counts from
// the tile; rows and dim say where the matrix ends.
template <class T, int D, int MT, int C> DEVICE void store_rows(T* dst, int stride, int rows, int dim, uint32_t tile, int row0, int c0, const float (&acc)[MT][C / 8][4], const float (&factor)[MT][2], int lane) {
  int g = lane >> 2, t = lane & 3;
  sync_warp();
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int n = 0; n < C / 8; n++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        store_shared4(tile + chunk_at<D>(row0 + m * 16 + h * 8 + g, n) + t * 4, pack<T>(acc[m][n][2 * h] * factor[m][h], acc[m][n][2 * h + 1] * factor[m][h]));
  sync_warp();
#pragma unroll
  for (int i = lane; i < MT * 16 * (C / 8); i += 32) {
    int r = row0 + i / (C / 8), c = i % (C / 8);
    if (r < rows && (c0 + c) * 8 < dim) *(uint4*)(dst + (int64_t)r * stride + (c0 + c) * 8) = load_shared16(tile + chunk_at<D>(r, c));
  }
}
// A warp's MT*16 rows of dk (which 0) or dv (1), F32, to the part of this block.
template <int MT, int C> DEVICE void store_part(const AttentionArgs& a, int split, int which, int b, int kv, int row, int c0, const float (&acc)[MT][C / 8][4], float factor, int t) {
  float* dst = a.part + ((int64_t)(split * 2 + which) * a.batch + b) * a.keys * a.kv_heads * a.dim + kv * a.dim + 2 * t;
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int r = row + 16 * m + 8 * h;
      if (r >= a.keys) continue;
#pragma unroll
      for (int n = 0; n < C / 8; n++)
        if ((c0 + n) * 8 < a.dim) *(float2*)(dst + (int64_t)r * a.kv_heads * a.dim + (c0 + n) * 8) = make_float2(acc[m][n][2 * h] * factor, acc[m][n][2 * h + 1] * factor);
    }
}

// Rotates rows row + 16 m + 8 h of a sequence back, if that is asked for; its first row is `first` of the batch.
template <int MT, int N> DEVICE void turn_rows_back(const AttentionArgs& a, float (&x)[MT][N][4], int64_t first, int row, int rows, int t) {
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) turn_back(a, x[m], h, first + row + 16 * m + 8 * h, row + 16 * m + 8 * h < rows, t);
}

// ---- Forward: a block makes BM = WARPS*MT*16 rows of one head, BN keys at a time, two
// key/value tiles in flight. Grid (heads*batch, ceil(queries/BM)), the longest rows first.
// QREG keeps q in registers.
template <class T, int D, int WARPS, int MT, int BN, bool QREG, bool CAP = false> DEVICE void forward(const AttentionArgs& a) {
  constexpr int BM = WARPS * MT * 16, ROW = 2 * D, THREADS = WARPS * 32, TILE = BN * ROW;
  DYNAMIC_SHARED(shared);
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
  int head = blockIdx.x % a.heads, b = blockIdx.x / a.heads, kv = head / (a.heads / a.kv_heads);
  int i0 = (gridDim.y - 1 - blockIdx.y) * BM, end = min(i0 + BM, a.queries), offset = a.keys - a.queries;
  const T* q = (const T*)a.q + (int64_t)b * a.queries * a.q_row + head * a.q_head;
  const T* k = (const T*)a.k + (int64_t)b * a.keys * a.k_row + kv * a.k_head;
  const T* v = (const T*)a.v + (int64_t)b * a.keys * a.v_row + kv * a.v_head;
  const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
  uint32_t sq = shared_address(shared), sk = sq + BM * ROW, sv = sk + 2 * TILE;

  int row = i0 + warp * MT * 16 + g; // this lane's rows: row + 16 m + 8 h
  int lo[MT][2];
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) lo[m][h] = row + 16 * m + 8 * h < a.queries ? first_key(a, starts, row + 16 * m + 8 * h) : 0;
  int lo_min = first_key(a, starts, i0), lo_max = first_key(a, starts, end - 1);
  int jb = (end - 1 + offset) / BN, jb_first = lo_min / BN;

  load_tile<BM, D, THREADS>(sq, q, a.q_row, i0, a.queries, a.dim, thread);
  load_tile<BN, D, THREADS>(sk, k, a.k_row, jb * BN, a.keys, a.dim, thread);
  load_tile<BN, D, THREADS>(sv, v, a.v_row, jb * BN, a.keys, a.dim, thread);
  copy_commit();

  uint32_t qa = sq + warp * MT * 16 * ROW + lane_rows_first<D>(lane), kb = sk + lane_chunks_first<D>(lane), vb = sv + lane_rows_first<D>(lane);
  uint32_t qf[QREG ? D / 16 : 1][MT][4];
  float o[MT][D / 8][4], top[MT][2], sum[MT][2], c = score_factor(a);
  clear(o);
#pragma unroll
  for (int m = 0; m < MT; m++) top[m][0] = top[m][1] = -1e30f, sum[m][0] = sum[m][1] = 0.f;

  bool begun = false;
  for (uint32_t stage = 0; jb >= jb_first; jb--, stage ^= TILE) {
    copy_wait<0>();
    __syncthreads();
    if (jb > jb_first) {
      load_tile<BN, D, THREADS>(sk + (stage ^ TILE), k, a.k_row, (jb - 1) * BN, a.keys, a.dim, thread);
      load_tile<BN, D, THREADS>(sv + (stage ^ TILE), v, a.v_row, (jb - 1) * BN, a.keys, a.dim, thread);
      copy_commit();
    }
    float s[MT][BN / 8][4];
    clear(s);
    if constexpr (QREG) {
      if (!begun) {
#pragma unroll
        for (int ks = 0; ks < D / 16; ks++)
#pragma unroll
          for (int m = 0; m < MT; m++) load_matrix(qf[ks][m], chunk_from<D>(qa, 2 * ks) + m * 16 * ROW);
        begun = true;
      }
      multiply_rows<T, D, MT, BN>(s, qf, kb + stage);
    } else {
      multiply_rows<T, D, MT, BN>(s, qa, kb + stage);
    }
    if (CAP && a.softcap > 0.f) squash(s, a.scale / a.softcap);
    if (jb * BN + BN - 1 > i0 + offset || jb * BN < lo_max) {
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < BN / 8; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            int j = jb * BN + n * 8 + 2 * t + (e & 1), h = e >> 1;
            if (j > row + 16 * m + 8 * h + offset || j < lo[m][h]) s[m][n][e] = NEG_INF;
          }
    }
    // the running maximum and sum of each row; what is there shrinks when the maximum grows
    float shrink[MT][2];
    bool moved = false;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float x = s[m][0][2 * h];
#pragma unroll
        for (int n = 0; n < BN / 8; n++) x = fmaxf(x, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
        x = fmaxf(x, shuffle_xor(x, 1));
        x = fmaxf(x, shuffle_xor(x, 2));
        x = fmaxf(x, top[m][h]);
        moved |= x != top[m][h];
        shrink[m][h] = exp2_fast((top[m][h] - x) * c);
        top[m][h] = x;
        float xc = x * c, z = 0.f;
#pragma unroll
        for (int n = 0; n < BN / 8; n++) {
          s[m][n][2 * h] = exp2_fast(s[m][n][2 * h] * c - xc);
          s[m][n][2 * h + 1] = exp2_fast(s[m][n][2 * h + 1] * c - xc);
          z += s[m][n][2 * h] + s[m][n][2 * h + 1];
        }
        sum[m][h] = sum[m][h] * shrink[m][h] + z;
      }
    if (any_in_warp(moved)) {
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) o[m][n][e] *= shrink[m][e >> 1];
    }
    uint32_t p[MT][BN / 16][4];
    as_operand<T, MT, BN>(p, s);
    multiply_columns<T, D, MT, BN, D>(o, p, vb + stage);
  }

#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float z = sum[m][h];
      z += shuffle_xor(z, 1);
      z += shuffle_xor(z, 2);
      sum[m][h] = z > 0.f ? 1.f / z : 0.f;
      int i = row + 16 * m + 8 * h;
      if (t == 0 && i < a.queries) a.lse[((int64_t)b * a.heads + head) * a.queries + i] = (top[m][h] * c + log2_fast(z)) * LN2;
    }
  store_rows<T, D, MT, D>((T*)a.out + ((int64_t)b * a.queries + i0) * a.out_row + head * a.out_head, a.out_row, a.queries - i0, a.dim, sq, warp * MT * 16, 0, o, sum, lane);
}

// ---- delta = rowsum(dout * out), a group of LANES lanes for a row and head, 8 columns each.
// Grid covers batch*queries*heads*LANES threads.
template <class T, int LANES> DEVICE void rowsum(const AttentionArgs& a) {
  int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
  int lane = threadIdx.x % LANES, head = i % a.heads;
  int64_t row = i / a.heads;
  bool ok = row < (int64_t)a.batch * a.queries;
  float z = 0.f;
  if (ok && lane * 8 < a.dim) {
    uint4 x = *(const uint4*)((const T*)a.out_in + row * a.out_row + head * a.out_head + lane * 8);
    uint4 y = *(const uint4*)((const T*)a.dout + row * a.dout_row + head * a.dout_head + lane * 8);
    float f[8], h[8];
    unpack<T>(f, x);
    unpack<T>(h, y);
#pragma unroll
    for (int e = 0; e < 8; e++) z += f[e] * h[e];
  }
#pragma unroll
  for (int m = LANES / 2; m; m >>= 1) z += shuffle_xor(z, m);
  if (ok && lane == 0) a.delta[(row / a.queries * a.heads + head) * a.queries + row % a.queries] = z;
}

// ---- Backward, first pass: dq, a block for BM rows of one head; CN keys of a tile at a time
// in registers. Grid as the forward's.
template <class T, int D, int WARPS, int MT, int BN, int CN, bool CAP = false> DEVICE void backward_q(const AttentionArgs& a) {
  constexpr int BM = WARPS * MT * 16, ROW = 2 * D, THREADS = WARPS * 32, TILE = BN * ROW;
  DYNAMIC_SHARED(shared);
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3;
  int head = blockIdx.x % a.heads, b = blockIdx.x / a.heads, kv = head / (a.heads / a.kv_heads);
  int i0 = (gridDim.y - 1 - blockIdx.y) * BM, end = min(i0 + BM, a.queries), offset = a.keys - a.queries;
  const T* q = (const T*)a.q + (int64_t)b * a.queries * a.q_row + head * a.q_head;
  const T* k = (const T*)a.k + (int64_t)b * a.keys * a.k_row + kv * a.k_head;
  const T* v = (const T*)a.v + (int64_t)b * a.keys * a.v_row + kv * a.v_head;
  const T* dout = (const T*)a.dout + (int64_t)b * a.queries * a.dout_row + head * a.dout_head;
  const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
  bool bounded = starts || a.window; // some keys before a query aren't seen
  int64_t stats = ((int64_t)b * a.heads + head) * a.queries;
  uint32_t sq = shared_address(shared), sd = sq + BM * ROW, sk = sd + BM * ROW, sv = sk + 2 * TILE;

  int row = i0 + warp * MT * 16 + g;
  int lo_min = first_key(a, starts, i0), lo_max = first_key(a, starts, end - 1);
  int jb = (end - 1 + offset) / BN, jb_first = lo_min / BN;
  load_tile<BM, D, THREADS>(sq, q, a.q_row, i0, a.queries, a.dim, thread);
  load_tile<BM, D, THREADS>(sd, dout, a.dout_row, i0, a.queries, a.dim, thread);
  load_tile<BN, D, THREADS>(sk, k, a.k_row, jb * BN, a.keys, a.dim, thread);
  load_tile<BN, D, THREADS>(sv, v, a.v_row, jb * BN, a.keys, a.dim, thread);
  copy_commit();

  float c = score_factor(a), lse[MT][2], delta[MT][2];
  int lo[MT][2];
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int i = row + 16 * m + 8 * h;
      bool ok = i < a.queries;
      lo[m][h] = ok ? first_key(a, starts, i) : 0;
      lse[m][h] = ok ? a.lse[stats + i] * LOG2E : 0.f;
      delta[m][h] = ok ? a.delta[stats + i] : 0.f;
    }
  uint32_t qa = sq + warp * MT * 16 * ROW + lane_rows_first<D>(lane), da = qa + BM * ROW;
  uint32_t kb = sk + lane_chunks_first<D>(lane), vb = sv + lane_chunks_first<D>(lane), kt = sk + lane_rows_first<D>(lane);
  float dq[MT][D / 8][4];
  clear(dq);
  for (uint32_t stage = 0; jb >= jb_first; jb--, stage ^= TILE) {
    copy_wait<0>();
    __syncthreads();
    if (jb > jb_first) {
      load_tile<BN, D, THREADS>(sk + (stage ^ TILE), k, a.k_row, (jb - 1) * BN, a.keys, a.dim, thread);
      load_tile<BN, D, THREADS>(sv + (stage ^ TILE), v, a.v_row, (jb - 1) * BN, a.keys, a.dim, thread);
      copy_commit();
    }
    bool edge = jb * BN + BN - 1 > i0 + offset || (bounded && jb * BN <= lo_max);
#pragma unroll
    for (int part = 0; part < BN / CN; part++) {
      uint32_t at = stage + part * CN * ROW;
      float s[MT][CN / 8][4], dp[MT][CN / 8][4];
      clear(s);
      multiply_rows<T, D, MT, CN>(s, qa, kb + at);
      clear(dp);
      multiply_rows<T, D, MT, CN>(dp, da, vb + at);
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < CN / 8; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) dp[m][n][e] -= delta[m][e >> 1];
      if (CAP && a.softcap > 0.f) { // the gradient of tanh
        squash(s, a.scale / a.softcap);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
          for (int n = 0; n < CN / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) dp[m][n][e] *= 1.f - s[m][n][e] * s[m][n][e];
      }
#pragma unroll
      for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < CN / 8; n++)
#pragma unroll
          for (int e = 0; e < 4; e++) dp[m][n][e] *= exp2_fast(s[m][n][e] * c - lse[m][e >> 1]);
      if (edge) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
          for (int n = 0; n < CN / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
              int j = jb * BN + part * CN + n * 8 + 2 * t + (e & 1), h = e >> 1, i = row + 16 * m + 8 * h + offset;
              if (j > i || j < lo[m][h] || i == lo[m][h]) dp[m][n][e] = 0.f; // one key alone: no gradient
            }
      }
      uint32_t ds[MT][CN / 16][4];
      as_operand<T, MT, CN>(ds, dp);
      multiply_columns<T, D, MT, CN, D>(dq, ds, kt + at);
    }
  }
  turn_rows_back(a, dq, (int64_t)b * a.queries, row, a.queries, t);
  float factor[MT][2];
#pragma unroll
  for (int m = 0; m < MT; m++) factor[m][0] = factor[m][1] = a.scale;
  store_rows<T, D, MT, D>((T*)a.dq + ((int64_t)b * a.queries + i0) * a.dq_row + head * a.dq_head, a.dq_row, a.queries - i0, a.dim, sq, warp * MT * 16, 0, dq, factor, lane);
}

// ---- Backward, second pass: dk and dv, a block for BN = WARPS*MT*16 keys of one key head; all
// query heads of its group and all query rows that see one of the keys pass by, BQ at a time,
// two tiles in flight. Everything is transposed (keys down, queries across), so that the
// probabilities are the next product's left operand as they stand. A block makes C of the D
// columns, blockIdx.z says which: registers hold no more at D 256.
// Grid (splits*kv_heads*batch, ceil(keys/BN), D/C), the longest columns first.
template <class T, int D, int WARPS, int MT, int BQ, int CQ, int C, bool CAP = false> DEVICE void backward_kv(const AttentionArgs& a) {
  constexpr int BN = WARPS * MT * 16, ROW = 2 * D, THREADS = WARPS * 32, TILE = BQ * ROW;
  static_assert(THREADS >= BQ, "one thread a row for the statistics");
  DYNAMIC_SHARED(shared);
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, g = lane >> 2, t = lane & 3, c0 = D == C ? 0 : blockIdx.z * (C / 8);
  int split = blockIdx.x % a.splits, kv = blockIdx.x / a.splits % a.kv_heads, b = blockIdx.x / a.splits / a.kv_heads, group = a.heads / a.kv_heads / a.splits;
  int j0 = blockIdx.y * BN, j_last = min(j0 + BN, a.keys) - 1, offset = a.keys - a.queries;
  const T* q = (const T*)a.q + (int64_t)b * a.queries * a.q_row;
  const T* k = (const T*)a.k + (int64_t)b * a.keys * a.k_row + kv * a.k_head;
  const T* v = (const T*)a.v + (int64_t)b * a.keys * a.v_row + kv * a.v_head;
  const T* dout = (const T*)a.dout + (int64_t)b * a.queries * a.dout_row;
  const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
  bool bounded = starts || a.window;
  uint32_t sk = shared_address(shared), sv = sk + BN * ROW, sq = sv + BN * ROW, sd = sq + 2 * TILE, sl = sd + 2 * TILE;
  const float* sums = (const float*)(shared + (2 * BN * ROW + 4 * TILE)); // two stages of BQ lse, BQ delta, BQ starts

  // query blocks ib0.. that see one of these keys: positions up to j_last + window, documents that began by j_last
  int ib0 = max(j0 - offset, 0) / BQ, blocks = (a.queries + BQ - 1) / BQ - ib0;
  if (bounded) {
    int n = 0;
    for (int i = 0; i < blocks; i += THREADS) n += __syncthreads_count(i + thread < blocks && first_key(a, starts, (ib0 + i + thread) * BQ) <= j_last);
    blocks = n;
  }

  load_tile<BN, D, THREADS>(sk, k, a.k_row, j0, a.keys, a.dim, thread);
  load_tile<BN, D, THREADS>(sv, v, a.v_row, j0, a.keys, a.dim, thread);
  auto fetch = [&](int head, int i0, int stage) {
    load_tile<BQ, D, THREADS>(sq + stage * TILE, q + head * a.q_head, a.q_row, i0, a.queries, a.dim, thread);
    load_tile<BQ, D, THREADS>(sd + stage * TILE, dout + head * a.dout_head, a.dout_row, i0, a.queries, a.dim, thread);
    if (thread < BQ) {
      bool ok = i0 + thread < a.queries;
      int64_t at = ((int64_t)b * a.heads + head) * a.queries + (ok ? i0 + thread : 0);
      uint32_t dst = sl + (stage * 3 * BQ + thread) * 4;
      copy4(dst, a.lse + at, ok);
      copy4(dst + BQ * 4, a.delta + at, ok);
      if (starts) copy4(dst + BQ * 8, starts + (ok ? i0 + thread + offset : 0), ok);
    }
    copy_commit();
  };
  int head = (kv * a.splits + split) * group, ib = 0, steps = group * blocks;
  if (steps) fetch(head, ib0 * BQ, 0);

  uint32_t own = warp * MT * 16 * ROW + lane_rows_first<D>(lane), chunks = lane_chunks_first<D>(lane), rows = lane_rows_first<D>(lane);
  float dk[MT][C / 8][4], dv[MT][C / 8][4], c = score_factor(a);
  clear(dk);
  clear(dv);
  int key = j0 + warp * MT * 16 + g;
  for (int step = 0; step < steps; step++) {
    int stage = step & 1, i0 = (ib0 + ib) * BQ;
    copy_wait<0>();
    __syncthreads();
    if (++ib == blocks) ib = 0, head++;
    if (step + 1 < steps) fetch(head, (ib0 + ib) * BQ, stage ^ 1);
    const float *lse = sums + stage * 3 * BQ, *delta = lse + BQ;
    const int* began = (const int*)(delta + BQ);
    auto first = [&](int r) { // of the keys that query i0 + r sees, as first_key
      int f = starts ? began[r] : 0;
      return a.window ? max(f, i0 + r + offset - a.window + 1) : f;
    };
    bool edge = j0 + BN - 1 > i0 + offset || (bounded && first(min(BQ, a.queries - i0) - 1) >= j0);
#pragma unroll
    for (int part = 0; part < BQ / CQ; part++) {
      uint32_t at = stage * TILE + part * CQ * ROW;
      float s[MT][CQ / 8][4], dp[MT][CQ / 8][4];
      clear(s);
      multiply_rows<T, D, MT, CQ>(s, sk + own, sq + at + chunks);
      clear(dp);
      multiply_rows<T, D, MT, CQ>(dp, sv + own, sd + at + chunks);
#pragma unroll
      for (int n = 0; n < CQ / 8; n++) {
        float2 z = *(const float2*)(delta + part * CQ + n * 8 + 2 * t);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
          for (int e = 0; e < 4; e++) dp[m][n][e] -= e & 1 ? z.y : z.x;
      }
      if (CAP && a.softcap > 0.f) {
        squash(s, a.scale / a.softcap);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
          for (int n = 0; n < CQ / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) dp[m][n][e] *= 1.f - s[m][n][e] * s[m][n][e];
      }
#pragma unroll
      for (int n = 0; n < CQ / 8; n++) {
        float2 l = *(const float2*)(lse + part * CQ + n * 8 + 2 * t);
        l.x *= LOG2E, l.y *= LOG2E;
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            s[m][n][e] = exp2_fast(s[m][n][e] * c - (e & 1 ? l.y : l.x));
            dp[m][n][e] *= s[m][n][e];
          }
      }
      if (edge) {
#pragma unroll
        for (int n = 0; n < CQ / 8; n++)
#pragma unroll
          for (int x = 0; x < 2; x++) {
            int r = part * CQ + n * 8 + 2 * t + x, i = i0 + r + offset, f = first(r);
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
              for (int h = 0; h < 2; h++) {
                int j = key + 16 * m + 8 * h;
                if (j > i || j < f) s[m][n][2 * h + x] = 0.f;
                if (j > i || j < f || i == f) dp[m][n][2 * h + x] = 0.f;
              }
          }
      }
      uint32_t p[MT][CQ / 16][4];
      as_operand<T, MT, CQ>(p, s);
      multiply_columns<T, D, MT, CQ, C>(dv, p, sd + at + rows, c0);
      as_operand<T, MT, CQ>(p, dp);
      multiply_columns<T, D, MT, CQ, C>(dk, p, sq + at + rows, c0);
    }
  }
  if (a.splits > 1) {
    store_part<MT, C>(a, split, 0, b, kv, key, c0, dk, a.scale, t);
    store_part<MT, C>(a, split, 1, b, kv, key, c0, dv, 1.f, t);
    return;
  }
  copy_wait<0>();
  __syncthreads(); // where no query came by, the keys may still be on their way
  if constexpr (C == D) turn_rows_back(a, dk, (int64_t)b * a.keys, key, a.keys, t);
  float factor[MT][2], one[MT][2];
#pragma unroll
  for (int m = 0; m < MT; m++) factor[m][0] = factor[m][1] = a.scale, one[m][0] = one[m][1] = 1.f;
  int64_t at = (int64_t)b * a.keys + j0;
  store_rows<T, D, MT, C>((T*)a.dk + at * a.dk_row + kv * a.dk_head, a.dk_row, a.keys - j0, a.dim, sk, warp * MT * 16, c0, dk, factor, lane);
  store_rows<T, D, MT, C>((T*)a.dv + at * a.dv_row + kv * a.dv_head, a.dv_row, a.keys - j0, a.dim, sv, warp * MT * 16, c0, dv, one, lane);
}

// ---- dk and dv from their parts, in the order of the parts; 8 elements a thread, or 16 of dk where it is rotated back. Grid
// covers batch*keys*kv_heads*dim/8 threads for dk and as many for dv (blockIdx.y).
template <class T> DEVICE void add_parts(const AttentionArgs& a) {
  int chunks = a.dim / 8, width = a.kv_heads * chunks;
  int64_t rows = (int64_t)a.batch * a.keys, i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows * width) return;
  int64_t row = i / width, one = rows * a.kv_heads * a.dim;
  int kv = i % width / chunks, c = i % chunks;
  auto sum = [&](float (&x)[8], int64_t at) {
    const float* p = a.part + blockIdx.y * one + at * 8;
    load_floats(x, p);
    for (int s = 1; s < a.splits; s++) {
      float u[8];
      load_floats(u, p += 2 * one);
#pragma unroll
      for (int e = 0; e < 8; e++) x[e] += u[e];
    }
  };
  float x[8];
  T* dst = (blockIdx.y ? (T*)a.dv + row * a.dv_row + kv * a.dv_head : (T*)a.dk + row * a.dk_row + kv * a.dk_head) + c * 8;
  if (blockIdx.y || c * 8 >= 2 * a.half) {
    sum(x, i);
    store(dst, x);
  } else if (c * 8 < a.half) { // and its partner's
    float y[8], cs[8], sn[8];
    int64_t at = (int64_t)(a.positions ? a.positions[row] : a.start + (int)row % a.len) * a.half + c * 8;
    load_floats(cs, a.cos + at);
    load_floats(sn, a.sin + at);
    sum(x, i);
    sum(y, i + a.half / 8);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      float z = x[e] * cs[e] + y[e] * sn[e];
      y[e] = y[e] * cs[e] - x[e] * sn[e];
      x[e] = z;
    }
    store(dst, x);
    store(dst + a.half, y);
  }
}

#define KERNEL(name, threads, blocks, T, body) \
  extern "C" __global__ void __launch_bounds__(threads, blocks) name##_##T(const __grid_constant__ AttentionArgs a) { begin(); body; }
#define KERNELS(T) \
  KERNEL(attention_forward_32, 128, 4, T, (forward<T, 32, 4, 1, 64, true>(a))) \
  KERNEL(attention_forward_64, 128, 4, T, (forward<T, 64, 4, 1, 64, true>(a))) \
  KERNEL(attention_forward_80, 128, 3, T, (forward<T, 80, 4, 1, 64, true>(a))) \
  KERNEL(attention_forward_96, 128, 3, T, (forward<T, 96, 4, 1, 64, true>(a))) \
  KERNEL(attention_forward_128, 128, 2, T, (forward<T, 128, 4, 2, 64, false>(a))) \
  KERNEL(attention_forward_128_few, 128, 2, T, (forward<T, 128, 4, 1, 64, true>(a))) \
  KERNEL(attention_forward_256, 128, 2, T, (forward<T, 256, 4, 1, 32, false, true>(a))) \
  KERNEL(attention_delta_4, 256, 1, T, (rowsum<T, 4>(a))) \
  KERNEL(attention_delta_8, 256, 1, T, (rowsum<T, 8>(a))) \
  KERNEL(attention_delta_16, 256, 1, T, (rowsum<T, 16>(a))) \
  KERNEL(attention_delta_32, 256, 1, T, (rowsum<T, 32>(a))) \
  KERNEL(attention_dq_32, 128, 3, T, (backward_q<T, 32, 4, 1, 64, 64>(a))) \
  KERNEL(attention_dq_64, 128, 2, T, (backward_q<T, 64, 4, 2, 64, 32>(a))) \
  KERNEL(attention_dq_64_few, 128, 3, T, (backward_q<T, 64, 4, 1, 64, 64>(a))) \
  KERNEL(attention_dq_80, 128, 2, T, (backward_q<T, 80, 4, 1, 64, 64>(a))) \
  KERNEL(attention_dq_96, 128, 2, T, (backward_q<T, 96, 4, 1, 64, 64>(a))) \
  KERNEL(attention_dq_128, 128, 2, T, (backward_q<T, 128, 4, 2, 32, 32>(a))) \
  KERNEL(attention_dq_128_few, 128, 2, T, (backward_q<T, 128, 4, 1, 64, 64>(a))) \
  KERNEL(attention_dq_256, 128, 2, T, (backward_q<T, 256, 4, 1, 16, 16, true>(a))) \
  KERNEL(attention_dkv_32, 128, 2, T, (backward_kv<T, 32, 4, 1, 64, 64, 32>(a))) \
  KERNEL(attention_dkv_64, 128, 2, T, (backward_kv<T, 64, 4, 2, 64, 32, 64>(a))) \
  KERNEL(attention_dkv_64_few, 128, 2, T, (backward_kv<T, 64, 4, 1, 64, 64, 64>(a))) \
  KERNEL(attention_dkv_80, 128, 2, T, (backward_kv<T, 80, 4, 1, 64, 64, 80>(a))) \
  KERNEL(attention_dkv_96, 128, 2, T, (backward_kv<T, 96, 4, 1, 64, 64, 96>(a))) \
  KERNEL(attention_dkv_128, 128, 2, T, (backward_kv<T, 128, 4, 1, 64, 64, 128>(a))) \
  KERNEL(attention_dkv_256, 128, 2, T, (backward_kv<T, 256, 4, 1, 16, 16, 128, true>(a))) \
  KERNEL(attention_add_parts, 256, 1, T, (add_parts<T>(a)))
KERNELS(bf16)
KERNELS(f16)
