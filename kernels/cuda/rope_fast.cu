// Rotates pairs of the first 2*half elements of each head in place: element i with element
// i + half. A thread: one vector of pairs of one head. Floor: 4 bytes an element of 16 bits.
// Grid covers rows*heads*half/N threads of 256, N elements a vector.
#include "common.cuh"

struct RopeArgs {
  void* x;                // (row, head, i) at row*x_row + head*x_head + i; aligned to 16 bytes
  const float *cos, *sin; // [positions, half]
  const int* positions;   // [rows], or null: start + row mod len
  int rows, len, start, heads, half, x_row, x_head; // half and strides multiples of N
  float sign;             // -1 rotates back
};

template <class T> DEVICE void rope(const RopeArgs& a) {
  constexpr int N = Vector<T>::N;
  int chunks = a.half / N, width = chunks * a.heads;
  int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  int row = i / width, r = i % width, head = r / chunks, c = r % chunks * N;
  if (row >= a.rows) return;
  T* p = (T*)a.x + (int64_t)row * a.x_row + head * a.x_head + c;
  float x[N], y[N], cs[N], sn[N];
  load(x, (const T*)p);
  load(y, (const T*)p + a.half);
  int64_t at = (int64_t)(a.positions ? a.positions[row] : a.start + row % a.len) * a.half + c;
  load_floats(cs, a.cos + at);
  load_floats(sn, a.sin + at);
#pragma unroll
  for (int e = 0; e < N; e++) {
    float s = sn[e] * a.sign, z = x[e] * cs[e] - y[e] * s;
    y[e] = y[e] * cs[e] + x[e] * s;
    x[e] = z;
  }
  store(p, x);
  store(p + a.half, y);
}

#define KERNEL(T) \
  extern "C" __global__ void __launch_bounds__(256) rope_##T(const __grid_constant__ RopeArgs a) { begin(); rope<T>(a); }
KERNEL(bf16)
KERNEL(f16)
KERNEL(float)
