// RMSNorm and LayerNorm. A block of 256 threads a row; the grid may have fewer blocks than rows.
#include "view.cuh"

struct NormArgs {
  View dst, x, dy; // backward: dst is DX
  const float *weight, *bias;
  float *mean, *rstd;
  float eps;
  int unit_offset, layer_norm, accumulate;
};

DEVICE float norm_scale(const NormArgs& p, int64_t j) {
  if (!p.weight) return 1;
  return p.unit_offset ? 1 + p.weight[j] : p.weight[j];
}

extern "C" __global__ void normalize(NormArgs p) {
  __shared__ float shared[32];
  int cols = p.x.cols;
  for (int64_t i = blockIdx.x; i < p.x.rows; i += gridDim.x) {
    float mean = 0;
    if (p.layer_norm) {
      for (int j = threadIdx.x; j < cols; j += blockDim.x) mean += get(p.x, i, j);
      mean = block_sum(mean, shared) / cols;
    }
    float squares = 0;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
      float d = get(p.x, i, j) - mean;
      squares += d * d;
    }
    float rstd = 1 / sqrtf(block_sum(squares, shared) / cols + p.eps);
    for (int j = threadIdx.x; j < cols; j += blockDim.x)
      put(p.dst, i, j, (get(p.x, i, j) - mean) * rstd * norm_scale(p, j) + (p.bias ? p.bias[j] : 0));
    if (threadIdx.x == 0) {
      if (p.mean) p.mean[i] = mean;
      if (p.rstd) p.rstd[i] = rstd;
    }
  }
}

// With h = (x - mean) rstd and g = w dy: dx = rstd (g - mean(g) - h mean(g h)), without mean(g) for RMSNorm.
extern "C" __global__ void normalize_grad(NormArgs p) {
  __shared__ float shared[32];
  int cols = p.x.cols;
  for (int64_t i = blockIdx.x; i < p.x.rows; i += gridDim.x) {
    float mean = p.layer_norm ? p.mean[i] : 0, rstd = p.rstd[i], g = 0, gh = 0;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
      float dy = norm_scale(p, j) * get(p.dy, i, j);
      g += dy;
      gh += dy * ((get(p.x, i, j) - mean) * rstd);
    }
    g = p.layer_norm ? block_sum(g, shared) / cols : 0;
    gh = block_sum(gh, shared) / cols;
    for (int j = threadIdx.x; j < cols; j += blockDim.x) {
      float h = (get(p.x, i, j) - mean) * rstd;
      float dx = rstd * (norm_scale(p, j) * get(p.dy, i, j) - g - h * gh);
      if (p.accumulate) dx += get(p.dst, i, j);
      put(p.dst, i, j, dx);
    }
  }
}
