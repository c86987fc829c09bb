// Non-linearities and gated ones, forward and backward. Grid: (columns, rows).
#include "view.cuh"

enum Activation : int { GELU, GELU_TANH, SILU, RELU };

struct Slope {
  float value, slope;
};

// sigmoid(t) and 1 - sigmoid(t), each to its own last place.
struct Sigmoid {
  float s, rest;
};
DEVICE Sigmoid sigmoid(float t) {
  float e = expf(-fabsf(t)), high = 1 / (1 + e), low = e / (1 + e);
  return t >= 0 ? Sigmoid{high, low} : Sigmoid{low, high};
}

DEVICE Slope activation(Activation act, float x) {
  switch (act) {
    case GELU: {
      float phi = 0.5f * erfcf(-x * 0.70710678118654752f);
      return {x * phi, phi + x * expf(-0.5f * x * x) * 0.39894228040143268f};
    }
    case GELU_TANH: { // (1 + tanh u)/2 = sigmoid(2u)
      const float c = 0.044715f, k = 1.5957691216057308f;
      Sigmoid a = sigmoid(k * (x + c * x * x * x));
      return {x * a.s, a.s + x * a.s * a.rest * k * (1 + 3 * c * x * x)};
    }
    case SILU: {
      Sigmoid a = sigmoid(x);
      return {x * a.s, a.s + x * a.s * a.rest};
    }
    default: return {x > 0 ? x : 0, x > 0 ? 1.f : 0.f};
  }
}

// Unused views have no data.
struct ActivationArgs {
  View dst, dup, x, up, dy; // dst: the result, or the gradient to x
  Activation act;
  int unused;
};
extern "C" __global__ void activate(ActivationArgs p) {
  EACH(p.dst, i, j) put(p.dst, i, j, activation(p.act, get(p.x, i, j)).value);
}
extern "C" __global__ void activate_grad(ActivationArgs p) {
  EACH(p.dst, i, j) put(p.dst, i, j, get(p.dy, i, j) * activation(p.act, get(p.x, i, j)).slope);
}
extern "C" __global__ void gate(ActivationArgs p) {
  EACH(p.dst, i, j) put(p.dst, i, j, activation(p.act, get(p.x, i, j)).value * get(p.up, i, j));
}
// dst may be x and dup may be up: all is read before it is written.
extern "C" __global__ void gate_grad(ActivationArgs p) {
  EACH(p.dst, i, j) {
    Slope a = activation(p.act, get(p.x, i, j));
    float up = get(p.up, i, j), dy = get(p.dy, i, j);
    put(p.dst, i, j, dy * up * a.slope);
    put(p.dup, i, j, dy * a.value);
  }
}
