// Sums of F32 elements in F64, in an order that the length alone decides: each block sums a part,
// then one block sums the parts. Blocks of 256 threads.
#include "view.cuh"

struct SumArgs {
  const float* src;
  double* parts; // of each block
  double* dst;
  int64_t n;
  int count; // of parts
  int squares, add, unused;
};

DEVICE double block_sum64(double x, double* shared) {
  shared[threadIdx.x] = x;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
    __syncthreads();
  }
  return shared[0];
}

extern "C" __global__ void sum_parts(SumArgs p) {
  begin();
  __shared__ double shared[256];
  double sum = 0;
  for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < p.n; i += (int64_t)gridDim.x * blockDim.x) {
    double x = p.src[i];
    sum += p.squares ? x * x : x;
  }
  sum = block_sum64(sum, shared);
  if (threadIdx.x == 0) p.parts[blockIdx.x] = sum;
}
extern "C" __global__ void sum_total(SumArgs p) {
  begin();
  __shared__ double shared[256];
  double sum = 0;
  for (int i = threadIdx.x; i < p.count; i += blockDim.x) sum += p.parts[i];
  sum = block_sum64(sum, shared);
  if (threadIdx.x == 0) *p.dst = p.add ? *p.dst + sum : sum;
}
