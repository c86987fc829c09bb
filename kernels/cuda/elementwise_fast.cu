// Element by element in vectors of 16 bytes: a bias on each row, and NF4 as activations. Floors in bytes an
// element: 4 and 2.56. Grid (rows, ceil(cols / (threads N))), N elements a vector.
#include "common.cuh"

struct BiasArgs {
  void* dst;
  const float* bias;
  int row, cols; // stride and cols multiples of N; both matrices aligned to 16 bytes
};
template <class T> DEVICE void add_bias(const BiasArgs& a) {
  constexpr int N = Vector<T>::N;
  int c = (blockIdx.y * blockDim.x + threadIdx.x) * N;
  if (c >= a.cols) return;
  T* p = (T*)a.dst + (int64_t)blockIdx.x * a.row + c;
  float x[N], b[N];
  load(x, (const T*)p);
  load_floats(b, a.bias + c);
#pragma unroll
  for (int e = 0; e < N; e++) x[e] += b[e];
  store(p, x);
}

struct DequantizeArgs {
  void* dst;
  const uint8_t* codes; // two a byte, the high nibble first
  const float* scales;  // one for 64 elements
  int64_t first;        // element of codes at which the matrix begins
  int64_t src_row;      // stride there
  int dst_row, cols;    // all multiples of N; dst is aligned to 16 bytes
};
template <class T> DEVICE void dequantize(const DequantizeArgs& a) {
  constexpr int N = 8;
  __shared__ float levels[16];
  if (threadIdx.x < 16) levels[threadIdx.x] = nf4_level(threadIdx.x);
  __syncthreads();
  int c = (blockIdx.y * blockDim.x + threadIdx.x) * N;
  if (c >= a.cols) return;
  int64_t n = a.first + (int64_t)blockIdx.x * a.src_row + c;
  uint32_t codes = *(const uint32_t*)(a.codes + n / 2);
  float scale = a.scales[n / 64], x[N];
#pragma unroll
  for (int e = 0; e < N; e += 2) {
    uint32_t two = codes >> (4 * e);
    x[e] = levels[two >> 4 & 15] * scale;
    x[e + 1] = levels[two & 15] * scale;
  }
  store((T*)a.dst + (int64_t)blockIdx.x * a.dst_row + c, x);
}

#define KERNELS(T) \
  extern "C" __global__ void __launch_bounds__(256) add_bias_##T(const __grid_constant__ BiasArgs a) { begin(); add_bias<T>(a); } \
  extern "C" __global__ void __launch_bounds__(256) dequantize_##T(const __grid_constant__ DequantizeArgs a) { begin(); dequantize<T>(a); }
KERNELS(bf16)
KERNELS(f16)
