// dst = alpha op(a) op(b) + beta dst + bias for matrices of any types and layouts, in F32 arithmetic:
// for what tensor cores don't take. Grid: (columns / 64, rows / 64) of dst; blocks of 256 threads, each
// makes 4x4 elements.
#include "view.cuh"

struct MatMulArgs {
  View dst, a, b;
  const float* bias;
  int k, trans_a, trans_b;
  float alpha, beta;
  int unused;
};

#define TILE 64
#define DEPTH 16
#define SPAN 512 // of products that one sum takes: sums of sums round less

extern "C" __global__ void __launch_bounds__(256) matmul(MatMulArgs p) {
  __shared__ float a[DEPTH][TILE + 1], b[DEPTH][TILE + 1];
  int t = threadIdx.x, row = t / 16, col = t % 16;
  int m0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE;
  float sum[4][4], total[4][4];
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) sum[i][j] = total[i][j] = 0;
  for (int k0 = 0; k0 < p.k; k0 += DEPTH) {
    for (int e = t; e < TILE * DEPTH; e += 256) { // neighbours in memory by neighbouring threads
      int x = p.trans_a ? e % TILE : e / DEPTH, k = p.trans_a ? e / TILE : e % DEPTH;
      bool in = m0 + x < p.dst.rows && k0 + k < p.k;
      a[k][x] = !in ? 0 : p.trans_a ? get(p.a, k0 + k, m0 + x) : get(p.a, m0 + x, k0 + k);
      x = p.trans_b ? e / DEPTH : e % TILE, k = p.trans_b ? e % DEPTH : e / TILE;
      in = n0 + x < p.dst.cols && k0 + k < p.k;
      b[k][x] = !in ? 0 : p.trans_b ? get(p.b, n0 + x, k0 + k) : get(p.b, k0 + k, n0 + x);
    }
    __syncthreads();
    for (int k = 0; k < DEPTH; k++)
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) sum[i][j] += a[k][row + 16 * i] * b[k][col + 16 * j];
    __syncthreads();
    if ((k0 + DEPTH) % SPAN != 0 && k0 + DEPTH < p.k) continue;
    for (int i = 0; i < 4; i++)
      for (int j = 0; j < 4; j++) total[i][j] += sum[i][j], sum[i][j] = 0;
  }
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < 4; j++) {
      int64_t m = m0 + row + 16 * i, n = n0 + col + 16 * j;
      if (m >= p.dst.rows || n >= p.dst.cols) continue;
      float x = p.alpha * total[i][j];
      if (p.bias) x += p.bias[n];
      if (p.beta != 0) x += p.beta * get(p.dst, m, n); // where it is 0, dst may hold anything
      put(p.dst, m, n, x);
    }
}
