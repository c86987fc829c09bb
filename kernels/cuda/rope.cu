// Rotary positions in place: pairs (i, i + half) of each head. Grid: (heads x half, rows).
#include "view.cuh"

struct RopeArgs {
  HeadsView x;
  const float *cos, *sin; // [positions, half]
  const int* positions;   // of each row; where there are none, start + row mod len
  int rows, len, start, half, inverse, unused;
};
extern "C" __global__ void rope(RopeArgs p) {
  for (int64_t r = blockIdx.y; r < p.rows; r += gridDim.y) {
    int64_t position = p.positions ? p.positions[r] : p.start + r % p.len;
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < p.x.n * p.half; k += gridDim.x * blockDim.x) {
      int64_t at = head_at(p.x, r, k / p.half) + k % p.half, t = position * p.half + k % p.half;
      float c = p.cos[t], s = p.inverse ? -p.sin[t] : p.sin[t];
      float a = get(p.x, at), b = get(p.x, at + p.half);
      put(p.x, at, a * c - b * s);
      put(p.x, at + p.half, b * c + a * s);
    }
  }
}
