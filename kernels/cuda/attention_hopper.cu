// The attention of attention_mma.cu on Hopper's warpgroup products (sm_90a): one warp fetches
// tiles with the tensor copy engine, two or three warpgroups of 64 rows compute. Same
// arguments, same results to rounding, same promises: no atomics, a fixed order. It takes as
// many queries as keys, no soft-cap, and dim up to 64 or 128 (the copy engine fills the rest
// of a tile with zeros).
//
// All kernels are persistent: the grid is at most the number of multiprocessors; tiles are
// dealt out longest first, in turns that run forth and back, so that each block gets its share.
// The tensor maps are 4-dimensional (column, head, row, sequence), a box 64 columns, 1 head
// and the rows named at each kernel, in 128-byte swizzle, zeros outside.
#include "attention.cuh"
#include "hopper.cuh"

struct HopperAttentionArgs {
  AttentionArgs a;
  int unused[2]; // the maps lie on 64 bytes
  TensorMap q, k, v, dout;
};

DEVICE int dealt(int turn) { return turn * gridDim.x + (turn & 1 ? gridDim.x - 1 - blockIdx.x : blockIdx.x); }


template <int ROWS, int D> DEVICE void fetch_tile(uint32_t dst, const TensorMap& map, uint32_t bar, int head, int row, int b) {
#pragma unroll
  for (int p = 0; p < D / 64; p++) copy_tensor(dst + p * ROWS * 128, &map, bar, p * 64, head, row, b);
}
// acc[64 x N] = A[64 x D] B[N x D]^T: rows from row0 of a tile of AROWS rows, the first N of a tile of BROWS.
template <class T, int D, int N, int AROWS, int BROWS> DEVICE void group_rows(float (&acc)[N / 8][4], uint32_t a, int row0, uint32_t b) {
#pragma unroll
  for (int ks = 0; ks < D / 16; ks++)
    group_mma<0, 0>(T(), acc, tile_word(a + ks / 4 * AROWS * 128 + row0 * 128 + ks % 4 * 32, 0), tile_word(b + ks / 4 * BROWS * 128 + ks % 4 * 32, 0), ks > 0);
}
// acc[64 x D] += P[64 x K] B[K x D], P in registers, B the first K of a tile of BROWS rows.
template <class T, int D, int K, int BROWS> DEVICE void group_columns(float (&acc)[D / 8][4], const uint32_t (&p)[K / 16][4], uint32_t b) {
#pragma unroll
  for (int kk = 0; kk < K / 16; kk++) group_mma<1>(T(), acc, p[kk], tile_word(b + kk * 16 * 128, BROWS * 128), 1);
}
template <int N> struct Int { static constexpr int value = N; };
template <class T, int N> DEVICE void as_operand(uint32_t (&p)[N / 16][4], const float (&s)[N / 8][4]) {
#pragma unroll
  for (int n = 0; n < N / 16; n++) {
    p[n][0] = pack<T>(s[2 * n][0], s[2 * n][1]);
    p[n][1] = pack<T>(s[2 * n][2], s[2 * n][3]);
    p[n][2] = pack<T>(s[2 * n + 1][0], s[2 * n + 1][1]);
    p[n][3] = pack<T>(s[2 * n + 1][2], s[2 * n + 1][3]);
  }
}
// A warp's 16 x D result times a factor for each row half; the four lanes of a row swap
// their pieces so that each stores 16 bytes. row is this lane's first, of `rows`.
template <class T, int D> DEVICE void store_result(T* dst, int stride, int row, int rows, int dim, const float (&acc)[D / 8][4], float f0, float f1, int lane) {
  int t = lane & 3;
#pragma unroll
  for (int h = 0; h < 2; h++)
#pragma unroll
    for (int n = 0; n < D / 8; n += 4) {
      uint32_t r[4];
      float f = h ? f1 : f0;
#pragma unroll
      for (int i = 0; i < 4; i++) r[i] = pack<T>(acc[n + i][2 * h] * f, acc[n + i][2 * h + 1] * f);
#pragma unroll
      for (int x = 1; x <= 2; x <<= 1) // a 4x4 transpose in two exchanges
#pragma unroll
        for (int i = 0; i < 4; i++)
          if (!(i & x)) {
            float give = __uint_as_float(t & x ? r[i] : r[i | x]);
            uint32_t got = __float_as_uint(shuffle_xor(give, x));
            if (t & x) r[i] = got;
            else r[i | x] = got;
          }
      if (row + 8 * h < rows && (n + t) * 8 < dim) *(uint4*)(dst + (int64_t)(row + 8 * h) * stride + (n + t) * 8) = make_uint4(r[0], r[1], r[2], r[3]);
    }
}
template <int D> DEVICE void store_part(const AttentionArgs& a, int split, int which, int b, int kv, int row, const float (&acc)[D / 8][4], float factor, int t) {
  float* dst = a.part + ((int64_t)(split * 2 + which) * a.batch + b) * a.queries * a.kv_heads * a.dim + kv * a.dim + 2 * t;
#pragma unroll
  for (int h = 0; h < 2; h++)
    if (row + 8 * h < a.queries)
#pragma unroll
      for (int n = 0; n < D / 8; n++)
        if (n * 8 < a.dim) *(float2*)(dst + (int64_t)(row + 8 * h) * a.kv_heads * a.dim + n * 8) = make_float2(acc[n][2 * h] * factor, acc[n][2 * h + 1] * factor);
}
template <int WGS> DEVICE void fetcher() {
  if (WGS == 3) fewer_registers<32>();
  else fewer_registers<24>();
}
template <int WGS> DEVICE void computer() {
  if (WGS == 3) more_registers<160>();
  else more_registers<240>();
}

// Warpgroups issue their products in turns, so that one's softmax falls on the others'
// products (5 to 15% faster). Everyone takes as many turns, also for blocks that it skips.
template <int WGS> struct Turns {
  int w;
  DEVICE void start() const { if (w == WGS - 1) named_arrive(1, 256); }
  DEVICE void take() const { named_barrier(1 + w, 256); }
  DEVICE void pass() const { named_arrive(1 + (w + 1) % WGS, 256); }
};

// ---- forward: tiles of 64 WGS rows of one head, BN keys at a time. Boxes: q 64 WGS rows, k and v BN.
template <class T, int D, int WGS, int BN, int STAGES> DEVICE void forward(const HopperAttentionArgs& p) {
  const AttentionArgs& a = p.a;
  constexpr int BM = 64 * WGS, QT = BM * D * 2, KT = BN * D * 2;
  DYNAMIC_SHARED(shared);
  uint32_t sq = shared_address(shared), sk = sq + QT, sv = sk + STAGES * KT, bars = sv + STAGES * KT;
  Ring<1> qr{bars, bars + 8};
  Ring<STAGES> kr{bars + 16, bars + 16 + 8 * STAGES}, vr{bars + 16 + 16 * STAGES, bars + 16 + 24 * STAGES};
  if (threadIdx.x == 0) {
    qr.init(1, 4 * WGS), kr.init(1, 4 * WGS), vr.init(1, 4 * WGS);
    barrier_init_fence();
  }
  __syncthreads();
  int heads = a.heads * a.batch, blocks = (a.queries + BM - 1) / BM, tiles = heads * blocks, n = 0;
  int group = threadIdx.x / 128, lane = threadIdx.x & 31;

  if (group == 0) {
    fetcher<WGS>();
    if (threadIdx.x == 0) {
      for (int turn = 0, tile; (tile = dealt(turn)) < tiles; turn++) {
        int i0 = (blocks - 1 - tile / heads) * BM, head = tile % heads % a.heads, b = tile % heads / a.heads, kv = head / (a.heads / a.kv_heads);
        const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
        int jb = (min(i0 + BM, a.queries) - 1) / BN, jb_first = first_key(a, starts, i0) / BN;
        qr.wait_empty(turn);
        barrier_expect(qr.full, QT);
        fetch_tile<BM, D>(sq, p.q, qr.full, head, i0, b);
        for (; jb >= jb_first; jb--, n++) {
          uint32_t s = kr.stage(n);
          kr.wait_empty(n);
          barrier_expect(kr.full + 8 * s, KT);
          fetch_tile<BN, D>(sk + s * KT, p.k, kr.full + 8 * s, kv, jb * BN, b);
          vr.wait_empty(n);
          barrier_expect(vr.full + 8 * s, KT);
          fetch_tile<BN, D>(sv + s * KT, p.v, vr.full + 8 * s, kv, jb * BN, b);
        }
      }
    }
  } else {
    computer<WGS>();
    int w = group - 1, g = lane >> 2, t = lane & 3;
    float c = a.scale * LOG2E;
    Turns<WGS> turns{w};
    turns.start();
    for (int turn = 0, tile; (tile = dealt(turn)) < tiles; turn++) {
      int i0 = (blocks - 1 - tile / heads) * BM, head = tile % heads % a.heads, b = tile % heads / a.heads, end = min(i0 + BM, a.queries);
      const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
      int iw = i0 + w * 64, row = iw + (threadIdx.x / 32 % 4) * 16 + g;
      int lo0 = row < a.queries ? first_key(a, starts, row) : 0, lo1 = row + 8 < a.queries ? first_key(a, starts, row + 8) : 0, lo_max = first_key(a, starts, end - 1);
      int jb = (end - 1) / BN, jb_first = first_key(a, starts, i0) / BN;

      float o[D / 8][4], top0 = -1e30f, top1 = -1e30f, sum0 = 0.f, sum1 = 0.f;
      uint32_t pr[BN / 16][4];
      clear(o);
      auto soften = [&](auto& s, float& shrink0, float& shrink1) { // scores -> unnormalised probabilities
        constexpr int N = sizeof(s) / 16; // 8-key tiles
        if (jb * BN + N * 8 - 1 > iw || jb * BN < lo_max) {
#pragma unroll
          for (int i = 0; i < N; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
              int j = jb * BN + i * 8 + 2 * t + (e & 1);
              if (e < 2 ? j > row || j < lo0 : j > row + 8 || j < lo1) s[i][e] = NEG_INF;
            }
        }
        float x0 = top0, x1 = top1;
#pragma unroll
        for (int i = 0; i < N; i++) x0 = fmaxf(x0, fmaxf(s[i][0], s[i][1])), x1 = fmaxf(x1, fmaxf(s[i][2], s[i][3]));
        x0 = fmaxf(x0, shuffle_xor(x0, 1)), x1 = fmaxf(x1, shuffle_xor(x1, 1));
        x0 = fmaxf(x0, shuffle_xor(x0, 2)), x1 = fmaxf(x1, shuffle_xor(x1, 2));
        shrink0 = exp2_fast((top0 - x0) * c), shrink1 = exp2_fast((top1 - x1) * c);
        top0 = x0, top1 = x1;
        float c0 = x0 * c, c1 = x1 * c, z0 = 0.f, z1 = 0.f;
#pragma unroll
        for (int i = 0; i < N; i++) {
          s[i][0] = exp2_fast(s[i][0] * c - c0), s[i][1] = exp2_fast(s[i][1] * c - c0);
          s[i][2] = exp2_fast(s[i][2] * c - c1), s[i][3] = exp2_fast(s[i][3] * c - c1);
          z0 += s[i][0] + s[i][1], z1 += s[i][2] + s[i][3];
        }
        sum0 = sum0 * shrink0 + z0, sum1 = sum1 * shrink1 + z1;
      };

      qr.wait_full(turn);
      for (; jb * BN > iw + 63; jb--, n++) turns.take(), turns.pass(), kr.release(n, lane), vr.release(n, lane); // keys after all of these rows
      float f0, f1;
      auto begin = [&](auto keys) { // the first block, or the half of it that these rows see
        constexpr int N = decltype(keys)::value;
        float s[N / 8][4];
        kr.wait_full(n);
        turns.take();
        group_fence();
        group_rows<T, D, N, BM, BN>(s, sq, w * 64, sk + kr.stage(n) * KT);
        group_commit();
        turns.pass();
        group_wait<0>();
        settle(s);
        kr.release(n, lane);
        soften(s, f0, f1);
#pragma unroll
        for (int i = 0; i < BN / 16; i++) {
          pr[i][0] = i < N / 16 ? pack<T>(s[2 * i % (N / 8)][0], s[2 * i % (N / 8)][1]) : 0;
          pr[i][1] = i < N / 16 ? pack<T>(s[2 * i % (N / 8)][2], s[2 * i % (N / 8)][3]) : 0;
          pr[i][2] = i < N / 16 ? pack<T>(s[2 * i % (N / 8) + 1][0], s[2 * i % (N / 8) + 1][1]) : 0;
          pr[i][3] = i < N / 16 ? pack<T>(s[2 * i % (N / 8) + 1][2], s[2 * i % (N / 8) + 1][3]) : 0;
        }
      };
      if (BN == 128 && jb * BN + 64 > iw + 63) begin(Int<64>());
      else begin(Int<BN>());
      for (jb--, n++; jb >= jb_first; jb--, n++) {
        float s[BN / 8][4];
        kr.wait_full(n);
        turns.take();
        group_fence();
        group_rows<T, D, BN, BM, BN>(s, sq, w * 64, sk + kr.stage(n) * KT);
        group_commit();
        vr.wait_full(n - 1);
        group_columns<T, D, BN, BN>(o, pr, sv + vr.stage(n - 1) * KT);
        group_commit();
        turns.pass();
        group_wait<1>();
        settle(s);
        kr.release(n, lane);
        soften(s, f0, f1);
        group_wait<0>();
        settle(o);
        vr.release(n - 1, lane);
#pragma unroll
        for (int i = 0; i < D / 8; i++) o[i][0] *= f0, o[i][1] *= f0, o[i][2] *= f1, o[i][3] *= f1;
        as_operand<T, BN>(pr, s);
      }
      qr.release(0, lane);
      vr.wait_full(n - 1);
      group_fence();
      group_columns<T, D, BN, BN>(o, pr, sv + vr.stage(n - 1) * KT);
      group_commit();
      sum0 += shuffle_xor(sum0, 1), sum1 += shuffle_xor(sum1, 1);
      sum0 += shuffle_xor(sum0, 2), sum1 += shuffle_xor(sum1, 2);
      float* lse = a.lse + ((int64_t)b * a.heads + head) * a.queries;
      if (t == 0 && row < a.queries) lse[row] = (top0 * c + log2_fast(sum0)) * LN2;
      if (t == 0 && row + 8 < a.queries) lse[row + 8] = (top1 * c + log2_fast(sum1)) * LN2;
      group_wait<0>();
      settle(o);
      vr.release(n - 1, lane);
      store_result<T, D>((T*)a.out + (int64_t)b * a.queries * a.out_row + head * a.out_head, a.out_row, row, a.queries, a.dim, o, 1.f / sum0, 1.f / sum1, lane);
    }
  }
}

// Heads up to 64 have delta made and dq and dk rotated back here: in a kernel of their own these take longer (2.9 and 4.4 us
// at 1x1024 for 4.7 here). At 128 they don't (4.2 and 5.7 for 11.4): a tile's end waits for twice the tables.
template <int D> constexpr bool WHOLE = D == 64;

// rowsum(dout * out) of a row and head, of which each of four lanes reads every fourth vector.
template <class T, int D> DEVICE float row_delta(const T* out, const T* dout, int dim, bool ok, int t) {
  float z = 0.f;
#pragma unroll
  for (int i = 0; i < D / 32; i++) {
    int c = (4 * i + t) * 8;
    if (!ok || c >= dim) continue;
    float x[8], y[8];
    load(x, out + c);
    load(y, dout + c);
#pragma unroll
    for (int e = 0; e < 8; e++) z += x[e] * y[e];
  }
  z += shuffle_xor(z, 1);
  return z + shuffle_xor(z, 2);
}

// ---- backward, first pass: dq of 64 WGS rows of one head, and delta if WHOLE, which must be there otherwise. OVERLAP issues
// the next scores while dq still runs (needs more registers). q and do stay in shared memory: held in
// registers as left operands over the loop, ptxas 12.4 gave two of them one register (see the notebook).
// Boxes: q and do 64 WGS rows, k and v BN.
template <class T, int D, int WGS, int BN, int STAGES, bool OVERLAP> DEVICE void backward_q(const HopperAttentionArgs& p) {
  const AttentionArgs& a = p.a;
  constexpr int BM = 64 * WGS, QT = BM * D * 2, KT = BN * D * 2;
  DYNAMIC_SHARED(shared);
  uint32_t sq = shared_address(shared), sd = sq + QT, sk = sd + QT, sv = sk + STAGES * KT, bars = sv + STAGES * KT;
  Ring<1> qr{bars, bars + 8};
  Ring<STAGES> kr{bars + 16, bars + 16 + 8 * STAGES};
  if (threadIdx.x == 0) {
    qr.init(1, 4 * WGS), kr.init(1, 4 * WGS);
    barrier_init_fence();
  }
  __syncthreads();
  int heads = a.heads * a.batch, blocks = (a.queries + BM - 1) / BM, tiles = heads * blocks, n = 0;
  int group = threadIdx.x / 128, lane = threadIdx.x & 31;

  if (group == 0) {
    fetcher<WGS>();
    if (threadIdx.x == 0) {
      for (int turn = 0, tile; (tile = dealt(turn)) < tiles; turn++) {
        int i0 = (blocks - 1 - tile / heads) * BM, head = tile % heads % a.heads, b = tile % heads / a.heads, kv = head / (a.heads / a.kv_heads);
        const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
        int jb = (min(i0 + BM, a.queries) - 1) / BN, jb_first = first_key(a, starts, i0) / BN;
        qr.wait_empty(turn);
        barrier_expect(qr.full, 2 * QT);
        fetch_tile<BM, D>(sq, p.q, qr.full, head, i0, b);
        fetch_tile<BM, D>(sd, p.dout, qr.full, head, i0, b);
        for (; jb >= jb_first; jb--, n++) {
          uint32_t s = kr.stage(n), bar = kr.full + 8 * s;
          kr.wait_empty(n);
          barrier_expect(bar, 2 * KT);
          fetch_tile<BN, D>(sk + s * KT, p.k, bar, kv, jb * BN, b);
          fetch_tile<BN, D>(sv + s * KT, p.v, bar, kv, jb * BN, b);
        }
      }
    }
  } else {
    computer<WGS>();
    int w = group - 1, g = lane >> 2, t = lane & 3, warp = threadIdx.x / 32 % 4;
    float c = a.scale * LOG2E;
    Turns<WGS> turns{w};
    turns.start();
    for (int turn = 0, tile; (tile = dealt(turn)) < tiles; turn++) {
      int i0 = (blocks - 1 - tile / heads) * BM, head = tile % heads % a.heads, b = tile % heads / a.heads, end = min(i0 + BM, a.queries);
      const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
      int iw = i0 + w * 64, row = iw + warp * 16 + g, jb = (end - 1) / BN, jb_first = first_key(a, starts, i0) / BN;
      int lo[2], lo_max = first_key(a, starts, end - 1);
      float lse[2], delta[2];
      int64_t stats = ((int64_t)b * a.heads + head) * a.queries;
#pragma unroll
      for (int h = 0; h < 2; h++) {
        int i = row + 8 * h;
        bool ok = i < a.queries;
        lo[h] = ok ? first_key(a, starts, i) : 0;
        lse[h] = ok ? a.lse[stats + i] * LOG2E : 0.f;
        if constexpr (WHOLE<D>) {
          int64_t at = (int64_t)b * a.queries + i;
          delta[h] = row_delta<T, D>((const T*)a.out_in + at * a.out_row + head * a.out_head, (const T*)a.dout + at * a.dout_row + head * a.dout_head, a.dim, ok, t);
          if (ok && t == 0) a.delta[stats + i] = delta[h];
        } else {
          delta[h] = ok ? a.delta[stats + i] : 0.f;
        }
      }
      float dq[D / 8][4];
      clear(dq);
      qr.wait_full(turn);
      for (; jb * BN > iw + 63; jb--, n++) turns.take(), turns.pass(), kr.release(n, lane);
      bool held = false;
      turns.take();
      auto step = [&](auto keys) { // the block's keys, or the half of them that these rows see
        constexpr int N = decltype(keys)::value;
        float s[N / 8][4], dp[N / 8][4];
        uint32_t ds[N / 16][4], at = kr.stage(n) * KT;
        kr.wait_full(n);
        group_fence();
        group_rows<T, D, N, BM, BN>(s, sq, w * 64, sk + at);
        group_commit();
        group_rows<T, D, N, BM, BN>(dp, sd, w * 64, sv + at);
        group_commit();
        turns.pass();
        group_wait<1>();
        settle(s);
        if (held) kr.release(n - 1, lane);
#pragma unroll
        for (int i = 0; i < N / 8; i++)
#pragma unroll
          for (int e = 0; e < 4; e++) s[i][e] = exp2_fast(s[i][e] * c - lse[e >> 1]);
        group_wait<0>();
        settle(dp);
#pragma unroll
        for (int i = 0; i < N / 8; i++)
#pragma unroll
          for (int e = 0; e < 4; e++) dp[i][e] = s[i][e] * (dp[i][e] - delta[e >> 1]);
        if (jb * BN + N - 1 > iw || jb * BN < lo_max) {
#pragma unroll
          for (int i = 0; i < N / 8; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
              int j = jb * BN + i * 8 + 2 * t + (e & 1), r = row + 8 * (e >> 1);
              if (j > r || j < lo[e >> 1] || r == lo[e >> 1]) dp[i][e] = 0.f;
            }
        }
        as_operand<T, N>(ds, dp);
        turns.take();
        group_fence();
        group_columns<T, D, N, BN>(dq, ds, sk + at);
        group_commit();
        held = OVERLAP;
        if (!OVERLAP || N < BN) { // N < BN: its operand's registers end here
          group_wait<0>();
          settle(dq);
          kr.release(n, lane);
          held = false;
        }
      };
      if (BN == 128 && jb * BN + 64 > iw + 63) step(Int<64>()), jb--, n++;
      for (; jb >= jb_first; jb--, n++) step(Int<BN>());
      turns.pass();
      group_wait<0>();
      settle(dq);
      if (held) kr.release(n - 1, lane);
      qr.release(0, lane);
      if constexpr (WHOLE<D>) {
#pragma unroll
        for (int h = 0; h < 2; h++) turn_back(a, dq, h, (int64_t)b * a.queries + row + 8 * h, row + 8 * h < a.queries, t);
      }
      store_result<T, D>((T*)a.dq + (int64_t)b * a.queries * a.dq_row + head * a.dq_head, a.dq_row, row, a.queries, a.dim, dq, a.scale, a.scale, lane);
    }
  }
}

// ---- backward, second pass: dk and dv of 128 keys of one key head, BQ query rows at a
// time, transposed as in attention.cu; keys and values of the next tile are fetched early.
// Boxes: k and v 128 rows, q and do BQ.
template <class T, int D, int BQ, int STAGES, bool OVERLAP> DEVICE void backward_kv(const HopperAttentionArgs& p) {
  const AttentionArgs& a = p.a;
  constexpr int WGS = 2, BN = 128, KT = BN * D * 2, QT = BQ * D * 2;
  DYNAMIC_SHARED(shared);
  uint32_t sk = shared_address(shared), sv = sk + 2 * KT, sq = sv + 2 * KT, sd = sq + STAGES * QT, bars = sd + STAGES * QT;
  float* sums = (float*)(shared + (4 * KT + 2 * STAGES * QT + 64 + 16 * STAGES)); // [STAGES][3][BQ]: lse, delta, first
  Ring<2> kr{bars, bars + 16};
  Ring<STAGES> qr{bars + 32, bars + 32 + 8 * STAGES};
  if (threadIdx.x == 0) {
    kr.init(1, 4 * WGS), qr.init(32, 4 * WGS);
    barrier_init_fence();
  }
  __syncthreads();
  int group = threadIdx.x / 128, lane = threadIdx.x & 31, heads = a.heads / a.kv_heads / a.splits, n = 0;
  bool bounded = a.starts || a.window;
  int columns = a.splits * a.kv_heads * a.batch, tiles = columns * ((a.queries + BN - 1) / BN), rows = (a.queries + BQ - 1) / BQ;
  // how many blocks of query rows from ib0 on see a key up to j_last
  auto count = [&](const int* starts, int ib0, int j_last) {
    if (!bounded) return rows - ib0;
    int z = 0;
    for (int i = ib0 + lane; i - lane < rows; i += 32) z += count_in_warp(i < rows && first_key(a, starts, i * BQ) <= j_last);
    return z;
  };

  if (group == 0) {
    fetcher<WGS>();
    if (threadIdx.x < 32) {
      for (int turn = 0, tile; (tile = dealt(turn)) < tiles; turn++) {
        int split = tile % columns % a.splits, kv = tile % columns / a.splits % a.kv_heads, b = tile % columns / a.splits / a.kv_heads;
        int j0 = tile / columns * BN, ib0 = j0 / BQ, head = (kv * a.splits + split) * heads;
        const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
        int blocks = count(starts, ib0, min(j0 + BN, a.queries) - 1), steps = heads * blocks;
        uint32_t ks = kr.stage(turn), kbar = kr.full + 8 * ks;
        kr.wait_empty(turn);
        if (lane == 0) {
          barrier_expect(kbar, 2 * KT);
          fetch_tile<BN, D>(sk + ks * KT, p.k, kbar, kv, j0, b);
          fetch_tile<BN, D>(sv + ks * KT, p.v, kbar, kv, j0, b);
        }
        for (int step = 0, ib = 0; step < steps; step++, n++) {
          int i0 = (ib0 + ib) * BQ;
          uint32_t s = qr.stage(n), bar = qr.full + 8 * s;
          int64_t at = ((int64_t)b * a.heads + head) * a.queries;
          float x[BQ / 32], y[BQ / 32];
          int f[BQ / 32];
#pragma unroll
          for (int i = 0; i < BQ / 32; i++) { // ahead of the wait: these come slowly
            int r = i0 + i * 32 + lane;
            bool ok = r < a.queries;
            x[i] = ok ? a.lse[at + r] * LOG2E : 0.f, y[i] = ok ? a.delta[at + r] : 0.f, f[i] = ok && bounded ? first_key(a, starts, r) : 0;
          }
          qr.wait_empty(n);
#pragma unroll
          for (int i = 0; i < BQ / 32; i++) {
            float* z = sums + s * 3 * BQ + i * 32 + lane;
            z[0] = x[i], z[BQ] = y[i], ((int*)z)[2 * BQ] = f[i];
          }
          if (lane == 0) {
            barrier_expect(bar, 2 * QT);
            fetch_tile<BQ, D>(sq + s * QT, p.q, bar, head, i0, b);
            fetch_tile<BQ, D>(sd + s * QT, p.dout, bar, head, i0, b);
          } else {
            barrier_arrive(bar);
          }
          if (++ib == blocks) ib = 0, head++;
        }
      }
    }
  } else {
    computer<WGS>();
    int w = group - 1, g = lane >> 2, t = lane & 3, warp = threadIdx.x / 32 % 4;
    float c = a.scale * LOG2E;
    Turns<WGS> turns{w};
    turns.start();
    for (int turn = 0, tile; (tile = dealt(turn)) < tiles; turn++) {
      int split = tile % columns % a.splits, kv = tile % columns / a.splits % a.kv_heads, b = tile % columns / a.splits / a.kv_heads;
      int j0 = tile / columns * BN, ib0 = j0 / BQ, jw = j0 + w * 64, key = jw + warp * 16 + g;
      const int* starts = a.starts ? a.starts + (int64_t)b * a.keys : 0;
      int blocks = count(starts, ib0, min(j0 + BN, a.queries) - 1), steps = heads * blocks, held = -1;
      uint32_t tk = sk + kr.stage(turn) * KT, tv = sv + kr.stage(turn) * KT;
      float dk[D / 8][4], dv[D / 8][4];
      uint32_t pr[BQ / 16][4], dr[BQ / 16][4];
      clear(dk);
      clear(dv);
      kr.wait_full(turn);
      turns.take();
      for (int step = 0, ib = 0; step < steps; step++, n++) {
        int i0 = (ib0 + ib) * BQ;
        if (++ib == blocks) ib = 0;
        uint32_t at = qr.stage(n) * QT;
        qr.wait_full(n);
        if (i0 + BQ <= jw) { // queries before all of this warpgroup's keys
          turns.pass();
          group_wait<0>();
          if (held >= 0) qr.release(held, lane), held = -1;
          qr.release(n, lane);
          turns.take();
          continue;
        }
        float s[BQ / 8][4], dp[BQ / 8][4];
        group_fence();
        group_rows<T, D, BQ, BN, BQ>(s, tk, w * 64, sq + at);
        group_commit();
        group_rows<T, D, BQ, BN, BQ>(dp, tv, w * 64, sd + at);
        group_commit();
        turns.pass();
        const float *lse = sums + qr.stage(n) * 3 * BQ + 2 * t, *delta = lse + BQ;
        const int* lo = (const int*)(delta + BQ);
        bool edge = jw + 63 > i0 || (bounded && (lo - 2 * t)[min(BQ, a.queries - i0) - 1] > jw);
        group_wait<1>();
        settle(s);
        if (held >= 0) qr.release(held, lane);
#pragma unroll
        for (int i = 0; i < BQ / 8; i++) {
          float2 l = *(const float2*)(lse + i * 8);
#pragma unroll
          for (int e = 0; e < 4; e++) s[i][e] = exp2_fast(s[i][e] * c - (e & 1 ? l.y : l.x));
        }
        if (edge) {
#pragma unroll
          for (int i = 0; i < BQ / 8; i++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
              int r = i0 + i * 8 + 2 * t + (e & 1), j = key + 8 * (e >> 1), f = bounded ? lo[i * 8 + (e & 1)] : 0;
              if (j > r || j < f) s[i][e] = 0.f;
            }
        }
        group_wait<0>();
        settle(dp);
#pragma unroll
        for (int i = 0; i < BQ / 8; i++) {
          float2 z = *(const float2*)(delta + i * 8);
#pragma unroll
          for (int e = 0; e < 4; e++) dp[i][e] = s[i][e] * (dp[i][e] - (e & 1 ? z.y : z.x));
        }
        if (edge) { // a query with one key alone
#pragma unroll
          for (int i = 0; i < BQ / 8; i++)
#pragma unroll
            for (int e = 0; e < 4; e++)
              if (i0 + i * 8 + 2 * t + (e & 1) == (bounded ? lo[i * 8 + (e & 1)] : 0)) dp[i][e] = 0.f;
        }
        as_operand<T, BQ>(pr, s);
        as_operand<T, BQ>(dr, dp);
        turns.take();
        group_fence();
        group_columns<T, D, BQ, BQ>(dv, pr, sd + at);
        group_columns<T, D, BQ, BQ>(dk, dr, sq + at);
        group_commit();
        held = OVERLAP ? n : -1;
        if (!OVERLAP) {
          group_wait<0>();
          settle(dv);
          settle(dk);
          qr.release(n, lane);
        }
      }
      turns.pass();
      group_wait<0>();
      settle(dk);
      settle(dv);
      if (held >= 0) qr.release(held, lane);
      kr.release(turn, lane);
      if (a.splits > 1) {
        store_part<D>(a, split, 0, b, kv, key, dk, a.scale, t);
        store_part<D>(a, split, 1, b, kv, key, dv, 1.f, t);
      } else {
        if constexpr (WHOLE<D>) {
#pragma unroll
          for (int h = 0; h < 2; h++) turn_back(a, dk, h, (int64_t)b * a.queries + key + 8 * h, key + 8 * h < a.queries, t);
        }
        store_result<T, D>((T*)a.dk + (int64_t)b * a.queries * a.dk_row + kv * a.dk_head, a.dk_row, key, a.queries, a.dim, dk, a.scale, a.scale, lane);
        store_result<T, D>((T*)a.dv + (int64_t)b * a.queries * a.dv_row + kv * a.dv_head, a.dv_row, key, a.queries, a.dim, dv, 1.f, 1.f, lane);
      }
    }
  }
}

#define KERNEL(name, groups, T, ...) \
  extern "C" __global__ void __launch_bounds__(groups * 128 + 128, 1) name##_##T(const __grid_constant__ HopperAttentionArgs p) { begin(); __VA_ARGS__(p); }
#define KERNELS(T) \
  KERNEL(hopper_forward_64, 2, T, forward<T, 64, 2, 128, 2>) \
  KERNEL(hopper_forward_64_long, 3, T, forward<T, 64, 3, 128, 2>) \
  KERNEL(hopper_forward_128, 2, T, forward<T, 128, 2, 128, 2>) \
  KERNEL(hopper_dq_64, 2, T, backward_q<T, 64, 2, 128, 2, true>) \
  KERNEL(hopper_dq_128, 2, T, backward_q<T, 128, 2, 128, 2, false>) \
  KERNEL(hopper_dkv_64, 2, T, backward_kv<T, 64, 64, 3, true>) \
  KERNEL(hopper_dkv_128, 2, T, backward_kv<T, 128, 64, 2, false>)
KERNELS(bf16)
KERNELS(f16)
