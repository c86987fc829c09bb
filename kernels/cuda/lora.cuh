// What the kernels with LoRA's thin products share: weights on their way to registers, and a block's sum over its warps.
#pragma once
#include "common.cuh"

// Rows of a [16 groups][64] or [64][16 groups] right operand come from F32 in vectors of eight.
template <class T> DEVICE uint4 rounded8(const float* p, bool ok, float scale) {
  if (!ok) return make_uint4(0, 0, 0, 0);
  float f[8];
  load_floats(f, p);
  return make_uint4(pack<T>(f[0] * scale, f[1] * scale), pack<T>(f[2] * scale, f[3] * scale), pack<T>(f[4] * scale, f[5] * scale), pack<T>(f[6] * scale, f[7] * scale));
}
DEVICE uint32_t masked(uint32_t pair, uint32_t bits) { return (bits & 1 ? pair & 0xffff : 0) | (bits & 2 ? pair & 0xffff0000u : 0); }
DEVICE uint4 masked(uint4 v, uint32_t bits) { return make_uint4(masked(v.x, bits), masked(v.y, bits >> 2), masked(v.z, bits >> 4), masked(v.w, bits >> 6)); }
template <int A, int B> DEVICE void clear(float (&x)[A][B][4]) {
#pragma unroll
  for (int a = 0; a < A; a++)
#pragma unroll
    for (int b = 0; b < B; b++)
#pragma unroll
      for (int e = 0; e < 4; e++) x[a][b][e] = 0.f;
}

// A warp's share of a block's sum: its fragments of 16 rows from row on, of a [STEP][R] tile in which 16-byte groups
// are permuted by the row.
template <int R, int N> DEVICE void put_share(float* share, const float (&u)[N][4], int row, int lane) {
  static_assert(N == R / 8, "fragments");
  int g = lane >> 2, t = lane & 3;
#pragma unroll
  for (int n = 0; n < N; n++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      int r = row + h * 8 + g, c = (n * 2 + (t >> 1)) ^ (r & 3);
      *(float2*)(share + r * R + c * 4 + (t & 1) * 2) = make_float2(u[n][2 * h], u[n][2 * h + 1]);
    }
}
// Adds the shares up in the warps' order: rows row0 to m1-1, at most STEP, of part [first + row][R].
template <int WARPS, int STEP, int R> DEVICE void sum_shares(float* part, const float* shares, int thread, int64_t first, int row0, int m1) {
  constexpr int SHARE = STEP * R;
  for (int i = thread; i < SHARE / 4; i += WARPS * 32) {
    float4 z = *(const float4*)(shares + i * 4);
#pragma unroll
    for (int w = 1; w < WARPS; w++) {
      float4 x = *(const float4*)(shares + w * SHARE + i * 4);
      z.x += x.x, z.y += x.y, z.z += x.z, z.w += x.w;
    }
    int r = i / (R / 4), c = i % (R / 4) ^ (r & 3);
    if (row0 + r < m1) *(float4*)(part + (first + row0 + r) * R + c * 4) = z;
  }
}

// A warp's 64 columns of x, from col0 on, with a group's weights as right operands of u = x A^T, or du = dy B if TALL: A is
// [rank, n], B [n, rank]. at is room in shared memory for OPERAND bytes, the warp's own.
constexpr int OPERAND = 16 * 2 * 64;
template <class T, bool TALL> DEVICE void right_operand(uint32_t (&f)[4][4], uint32_t at, const float* w, int w_row, int rank, int col0, int n, int lane) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if constexpr (TALL) { // a tile [64][16]
      int r = i * 16 + (lane >> 1), c = lane & 1;
      bool ok = col0 + r < n && c * 8 < rank;
      store_shared16(at + chunk_at<16>(r, c), rounded8<T>(w + (int64_t)(col0 + r) * w_row + c * 8, ok, 1.f));
    } else { // [16][64]
      int r = i * 4 + (lane >> 3), c = lane & 7;
      bool ok = r < rank && col0 + c * 8 < n;
      store_shared16(at + chunk_at<64>(r, c), rounded8<T>(w + (int64_t)r * w_row + col0 + c * 8, ok, 1.f));
    }
  }
  sync_warp();
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if constexpr (TALL) load_matrix_trans(f[k], at + lane_rows_first<16>(lane) + k * 16 * 32);
    else load_matrix(f[k], chunk_from<64>(at + lane_chunks_first<64>(lane), 2 * k));
  }
  sync_warp();
}
