// Activations and gates, forward and backward, a vector a thread:
//
//   activate:      y = act(gate)               activate_grad: dgate = dy act'(gate)
//   gate:          y = act(gate) up            gate_grad:     dgate = dy up act'(gate), dup = dy act(gate)
//
// Results may overwrite what they are made of. Floors in bytes an element of 16 bits: 4, 6, 6, 10.
// Grid (rows, ceil(cols / (threads N))), N elements a vector.
#include "gate.cuh"

struct GateArgs {
  const void *gate, *up, *dy;
  void *y, *dgate, *dup;
  int gate_row, up_row, dy_row, y_row, dgate_row, dup_row; // strides
  int cols;       // like the strides a multiple of N; all aligned to 16 bytes
  int activation; // as kernels.Activation
};

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
  extern "C" __global__ void __launch_bounds__(256) name##_##T(const __grid_constant__ GateArgs a) { begin(); choose<T, up, grad>(a); }
#define KERNELS(T) \
  KERNEL(activate, T, false, false) \
  KERNEL(activate_grad, T, false, true) \
  KERNEL(gate, T, true, false) \
  KERNEL(gate_grad, T, true, true)
KERNELS(bf16)
KERNELS(f16)
KERNELS(float)
