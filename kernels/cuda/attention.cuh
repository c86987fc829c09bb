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
  int q_row, q_head, k_row, k_head, v_row, v_head, out_row, out_head, dout_row, dout_head;
  int dq_row, dq_head, dk_row, dk_head, dv_row, dv_head;
  int batch, queries, keys, heads, kv_heads, dim;
  int window;          // positions a query sees at most, its own included; 0: all
  int splits;          // blocks that share the query heads of one key head: 1, or a divisor of heads/kv_heads
  float scale, softcap; // softcap 0: none
};

// The first key that query i sees; starts is the sequence's own. It never falls as i grows.
DEVICE int first_key(const AttentionArgs& a, const int* starts, int i) {
  int position = i + a.keys - a.queries, first = starts ? starts[position] : 0;
  return a.window ? max(first, position - a.window + 1) : first;
}
