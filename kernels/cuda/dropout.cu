// Dropout: a warp takes 1024 elements at a time. Blocks of 256 threads.
#include "mask.cuh"
#include "view.cuh"

struct DropoutArgs {
  View dst, src;
  const uint64_t* key; // not read where all is kept
  uint64_t module;
  int keep; // of 256
  float scale;
  int add, unused;
};
extern "C" __global__ void dropout(DropoutArgs p) {
  int lane = threadIdx.x % 32;
  int64_t n = (int64_t)p.dst.rows * p.dst.cols;
  uint64_t key = p.keep < 256 ? module_key(*p.key, p.module) : 0;
  for (int64_t b0 = (blockIdx.x * (int64_t)(blockDim.x / 32) + threadIdx.x / 32) * 32; b0 * 32 < n; b0 += (int64_t)gridDim.x * blockDim.x) {
    uint32_t bits = mask_bits(key, b0 + lane, p.keep);
    for (int t = 0; t < 32; t++) {
      uint32_t kept = shuffle_bits(bits, t) >> lane & 1;
      int64_t e = (b0 + t) * 32 + lane, i = e / p.dst.cols, j = e % p.dst.cols;
      if (e >= n) continue;
      float x = kept ? get(p.src, i, j) * p.scale : 0;
      if (p.add) x += get(p.dst, i, j);
      put(p.dst, i, j, x);
    }
  }
}
