// What every attention kernel takes: attention_mma.cu and attention_hopper.cu.
#pragma once
#include "common.cuh"

// q, out, dout, dq are views [batch*queries, heads, dim], k, v, dk, dv [batch*keys, kv_heads, dim]:
// element (row, head, i) at row*X_row + head*X_head + i. Pointers are aligned to 16 bytes, row
// and head strides and dim are multiples of 8. Query i of a sequence is at position
// i + keys - queries and sees keys first_key(i) to its own position.
struct AttentionArgs {
  const void *q, *k, *v, *out_in, *dout; // out_in: what the forward pass left, for delta
  void *out, *dq, *dk, *dv;
  float *lse, *delta;  // [batch, heads, queries]: log sum exp of a row's scores; rowsum(dout * out)
  float* part;         // splits > 1: [splits][2][batch*keys][kv_heads*dim], dk and dv in parts
  const int* starts;   // [batch*keys] or null: the first position of the document a position belongs to
  const float *cos, *sin; // half > 0: dq and dk are rotated back, element i with i + half, by tables [positions, half]
  const int* positions;   // [batch*queries], or null: row r is at start + r mod len
  int q_row, q_head, k_row, k_head, v_row, v_head, out_row, out_head, dout_row, dout_head;
  int dq_row, dq_head, dk_row, dk_head, dv_row, dv_head;
  int batch, queries, keys, heads, kv_heads, dim;
  int window;          // positions a query sees at most, its own included; 0: all
  int splits;          // blocks that share the query heads of one key head: 1, or a divisor of heads/kv_heads
  int half, len, start; // half: 0, or a multiple of 8
  float scale, softcap; // softcap 0: none
};

// The first key that query i sees; starts is the sequence's own. It never falls as i grows.
DEVICE int first_key(const AttentionArgs& a, const int* starts, int i) {
  int position = i + a.keys - a.queries, first = starts ? starts[position] : 0;
  return a.window ? max(first, position - a.window + 1) : first;
}

// Rotates a row of the whole batch back, if it is there and that is asked for: the one in the lower (h 0) or upper half of a
// tile of 16, of which this thread has columns 8n+2t and 8n+2t+1 of each eight.
template <int N> DEVICE void turn_back(const AttentionArgs& a, float (&x)[N][4], int h, int64_t row, bool ok, int t) {
  if (!ok || !a.half) return;
  int64_t at = (int64_t)(a.positions ? a.positions[row] : a.start + (int)row % a.len) * a.half + 2 * t;
#pragma unroll
  for (int m = 1; m <= N / 2; m++)
    if (a.half == 8 * m) {
#pragma unroll
      for (int n = 0; n < m; n++) {
        float2 c = *(const float2*)(a.cos + at + 8 * n), s = *(const float2*)(a.sin + at + 8 * n);
        float *u = x[n] + 2 * h, *v = x[n + m] + 2 * h, u0 = u[0], u1 = u[1];
        u[0] = u0 * c.x + v[0] * s.x, u[1] = u1 * c.y + v[1] * s.y;
        v[0] = v[0] * c.x - u0 * s.x, v[1] = v[1] * c.y - u1 * s.y;
      }
    }
}
