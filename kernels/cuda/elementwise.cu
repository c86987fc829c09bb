// Copies and sums, element by element. Grid: (columns, rows).
#include "view.cuh"

struct CopyArgs {
  View dst, src;
};
extern "C" __global__ void copy(CopyArgs p) {
  begin();
  EACH(p.dst, i, j) put(p.dst, i, j, get(p.src, i, j));
}

struct AddArgs {
  View dst, a, b;
};
extern "C" __global__ void add(AddArgs p) {
  begin();
  EACH(p.dst, i, j) put(p.dst, i, j, get(p.a, i, j) + get(p.b, i, j));
}

// dst += bias, on each row
struct AddBiasArgs {
  View dst;
  const float* bias;
};
extern "C" __global__ void add_bias(AddBiasArgs p) {
  begin();
  EACH(p.dst, i, j) put(p.dst, i, j, get(p.dst, i, j) + p.bias[j]);
}

// y += alpha x in flat F32 buffers; alpha lies in device memory.
struct AxpyArgs {
  float* y;
  const float* x;
  const double* alpha;
  int64_t n;
};
extern "C" __global__ void axpy(AxpyArgs p) {
  begin();
  double alpha = *p.alpha;
  for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < p.n; i += (int64_t)gridDim.x * blockDim.x)
    p.y[i] = (float)((double)p.y[i] + alpha * (double)p.x[i]);
}
