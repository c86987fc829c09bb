// AdamW (arXiv:1711.05101) over flat F32 buffers, the arithmetic of torch.optim.AdamW.
#include "view.cuh"

struct AdamWArgs {
  float* param;
  const float* grad;
  float *m, *v;
  const double* norm_squared; // of all gradients
  const double* rates;        // learning rate, 1 - beta1^step, 1 - beta2^step
  int64_t n;
  double max_norm, beta1, beta2, eps, weight_decay;
};
extern "C" __global__ void adamw(AdamWArgs p) {
  begin();
  if (!(*p.norm_squared - *p.norm_squared == 0)) return; // it isn't finite: nothing changes
  double clip = 1;
  if (p.max_norm > 0) clip = fmin(1., p.max_norm / (sqrt(*p.norm_squared) + 1e-6));
  double decay = 1 - p.rates[0] * p.weight_decay, rate = p.rates[0] / p.rates[1], root = 1 / sqrt(p.rates[2]);
  for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < p.n; i += (int64_t)gridDim.x * blockDim.x) {
    double g = p.grad[i] * clip;
    double m = p.beta1 * p.m[i] + (1 - p.beta1) * g, v = p.beta2 * p.v[i] + (1 - p.beta2) * g * g;
    p.m[i] = (float)m;
    p.v[i] = (float)v;
    p.param[i] = (float)(p.param[i] * decay - rate * m / (sqrt(v) * root + p.eps));
  }
}
