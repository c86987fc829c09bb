// Activations, numbered as kernels.Activation.
#pragma once
#include "common.cuh"

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
