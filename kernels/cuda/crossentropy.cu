// The loss of rows of logits and its gradient to them, plain: for F32 activations, exponentials as exact as
// they come, and for few classes. A block of 256 threads a row.
#include "view.cuh"

struct CrossEntropyArgs {
  View logits; // F32
  View grad;   // for the gradient; no data: none is wanted
  const int* targets;
  float* losses;
  const double* grad_scale;
  float softcap;
  int unused;
};
extern "C" __global__ void cross_entropy(CrossEntropyArgs p) {
  __shared__ float shared[32];
  int vocab = p.logits.cols;
  for (int64_t i = blockIdx.x; i < p.logits.rows; i += gridDim.x) {
    int target = p.targets[i];
    if (target < 0 || target >= vocab) { // what is beyond the vocabulary, the caller should have refused
      if (threadIdx.x == 0) p.losses[i] = target < 0 ? 0 : NAN_F32;
      if (p.grad.data)
        for (int j = threadIdx.x; j < vocab; j += blockDim.x) put(p.grad, i, j, 0);
      continue;
    }
    float top = -INF_F32, sum = 0, cap = p.softcap;
    for (int j = threadIdx.x; j < vocab; j += blockDim.x) {
      float z = get(p.logits, i, j);
      top = fmaxf(top, cap > 0 ? cap * tanhf(z / cap) : z);
    }
    top = block_max(top, shared);
    for (int j = threadIdx.x; j < vocab; j += blockDim.x) {
      float z = get(p.logits, i, j);
      sum += expf((cap > 0 ? cap * tanhf(z / cap) : z) - top);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
      float z = get(p.logits, i, target);
      p.losses[i] = logf(sum) + (top - (cap > 0 ? cap * tanhf(z / cap) : z));
    }
    if (!p.grad.data) continue;
    __syncthreads(); // the gradient may take the logits' place
    float scale = (float)*p.grad_scale;
    for (int j = threadIdx.x; j < vocab; j += blockDim.x) {
      float z = get(p.logits, i, j), slope = 1;
      if (cap > 0) {
        float t = tanhf(z / cap);
        z = cap * t, slope = 1 - t * t;
      }
      float dz = expf(z - top) / sum;
      if (j == target) dz -= 1;
      put(p.grad, i, j, dz * slope * scale);
    }
  }
}
