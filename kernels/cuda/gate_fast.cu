// Activations and gates, forward and backward, a vector a thread:
//
//   activate:      y = act(gate)               activate_grad: dgate = dy act'(gate)
//   gate:          y = act(gate) up            gate_grad:     dgate = dy up act'(gate), dup = dy act(gate)
//
// Results may overwrite what they are made of. Floors in bytes an element of 16 bits: 4, 6, 6, 10.
// Grid (rows, ceil(cols / (threads N))), N elements a vector.
#include "common.cuh"

struct GateArgs {
  const void *gate, *up, *dy;
  void *y, *dgate, *dup;
  int gate_row, up_row, dy_row, y_row, dgate_row, dup_row; // strides
  int cols;       // like the strides a multiple of N; all aligned to 16 bytes
  int activation; // as kernels.Activation
};

enum { GELU, GELU_TANH, SILU, RELU };

// act(x) and its derivative.
template <int ACT> DEVICE void act(float x, float& y, float& slope) {
  if (ACT == GELU) { // x Phi(x); x phi(x) + Phi(x)
    float phi = 0.5f + 0.5f * erff(x * 0.7071067811865476f);
    y = x * phi;
    slope = phi + x * 0.3989422804014327f * exp2_fast(-0.5f * LOG2E * x * x);
  } else if (ACT == GELU_TANH) {
    float x2 = x * x, t = tanh_fast(0.7978845608028654f * x * (1.f + 0.044715f * x2));
    y = 0.5f * x * (1.f + t);
    slope = 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * 0.7978845608028654f * (1.f + 0.134145f * x2);
  } else if (ACT == SILU) {
    float s = inverse_fast(1.f + exp2_fast(-x * LOG2E));
    y = x * s;
    slope = s * (1.f + x * (1.f - s));
  } else {
    y = fmaxf(x, 0.f);
    slope = x > 0.f ? 1.f : 0.f;
  }
}

template <class T, int ACT, bool UP, bool GRAD> DEVICE void gate(const GateArgs& a) {
  constexpr int N = Vector<T>::N;
  int64_t row = blockIdx.x;
  int c = (blockIdx.y * blockDim.x + threadIdx.x) * N;
  if (c >= a.cols) return;
  float g[N], u[N], d[N];
  load(g, (const T*)a.gate + row * a.gate_row + c);
  if (UP) load(u, (const T*)a.up + row * a.up_row + c);
  if (GRAD) load(d, (const T*)a.dy + row * a.dy_row + c);
#pragma unroll
  for (int e = 0; e < N; e++) {
    float y, slope;
    act<ACT>(g[e], y, slope);
    if (GRAD) {
      g[e] = d[e] * slope * (UP ? u[e] : 1.f);
      u[e] = d[e] * y;
    } else {
      g[e] = UP ? y * u[e] : y;
    }
  }
  if (!GRAD) {
    store((T*)a.y + row * a.y_row + c, g);
  } else {
    store((T*)a.dgate + row * a.dgate_row + c, g);
    if (UP) store((T*)a.dup + row * a.dup_row + c, u);
  }
}
template <class T, bool UP, bool GRAD> DEVICE void choose(const GateArgs& a) {
  switch (a.activation) {
    case GELU: return gate<T, GELU, UP, GRAD>(a);
    case GELU_TANH: return gate<T, GELU_TANH, UP, GRAD>(a);
    case SILU: return gate<T, SILU, UP, GRAD>(a);
    default: return gate<T, RELU, UP, GRAD>(a);
  }
}

#define KERNEL(name, T, up, grad) \
  extern "C" __global__ void __launch_bounds__(256) name##_##T(const __grid_constant__ GateArgs a) { choose<T, up, grad>(a); }
#define KERNELS(T) \
  KERNEL(activate, T, false, false) \
  KERNEL(activate_grad, T, false, true) \
  KERNEL(gate, T, true, false) \
  KERNEL(gate_grad, T, true, true)
KERNELS(bf16)
KERNELS(f16)
KERNELS(float)
