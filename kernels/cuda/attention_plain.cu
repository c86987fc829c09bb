// Causal attention with grouped heads, for heads of any size to 256, any layout and any type: a warp for each
// query (forward, dQ) or key (dK, dV). Every sum has a fixed order. Grid: any; blocks of 128 threads.
#include "view.cuh"

struct PlainAttentionArgs {
  HeadsView q, k, v, out, dout, dq, dk, dv;
  const int* starts; // of each key's row, or none
  float *lse, *delta; // [batch, heads, queries]
  int batch, queries, keys, window;
  float scale, softcap;
};

#define PARTS 8 // of 32 elements, of a head

// The score of two heads, and what is left of its gradient behind the soft cap.
struct Score {
  float value, slope;
};
DEVICE Score score(const PlainAttentionArgs& p, int64_t q, int64_t k) {
  float s = 0;
  for (int l = 0; l < p.q.dim; l++) s += get(p.q, q + l) * get(p.k, k + l);
  s *= p.scale;
  if (!(p.softcap > 0)) return {s, 1};
  float t = tanhf(s / p.softcap);
  return {p.softcap * t, 1 - t * t};
}
DEVICE float product(const HeadsView& a, int64_t at, const HeadsView& b, int64_t bt) {
  float s = 0;
  for (int l = 0; l < a.dim; l++) s += get(a, at + l) * get(b, bt + l);
  return s;
}

// The first key that query i of a batch row sees; the last is keys - queries + i.
DEVICE int first_key(const PlainAttentionArgs& p, int b, int i) {
  int position = p.keys - p.queries + i, first = 0;
  if (p.window > 0 && position - p.window + 1 > first) first = position - p.window + 1;
  if (p.starts && p.starts[(int64_t)b * p.keys + position] > first) first = p.starts[(int64_t)b * p.keys + position];
  return first;
}

#define WARP (blockIdx.x * (int64_t)(blockDim.x / 32) + threadIdx.x / 32)
#define WARPS ((int64_t)gridDim.x * (blockDim.x / 32))

extern "C" __global__ void plain_attention(PlainAttentionArgs p) {
  int lane = threadIdx.x % 32, group = p.q.n / p.k.n;
  for (int64_t w = WARP; w < (int64_t)p.batch * p.q.n * p.queries; w += WARPS) {
    int i = w % p.queries, h = w / p.queries % p.q.n, b = w / p.queries / p.q.n;
    int64_t q = head_at(p.q, (int64_t)b * p.queries + i, h);
    float top = -INF_F32, sum = 0, out[PARTS];
    for (int e = 0; e < PARTS; e++) out[e] = 0;
    int last = p.keys - p.queries + i;
    for (int j0 = first_key(p, b, i); j0 <= last; j0 += 32) {
      int j = j0 + lane;
      float s = -INF_F32;
      if (j <= last) s = score(p, q, head_at(p.k, (int64_t)b * p.keys + j, h / group)).value;
      float higher = fmaxf(top, warp_max(s)), shrink = expf(top - higher), x = j <= last ? expf(s - higher) : 0;
      sum = sum * shrink + warp_sum(x);
      top = higher;
      for (int e = 0; e < PARTS; e++) out[e] *= shrink;
      for (int t = 0; t < 32; t++) {
        float prob = shuffle(x, t);
        if (j0 + t > last) break;
        int64_t v = head_at(p.v, (int64_t)b * p.keys + j0 + t, h / group);
        for (int e = 0; e < PARTS; e++)
          if (e * 32 + lane < p.v.dim) out[e] += prob * get(p.v, v + e * 32 + lane);
      }
    }
    int64_t o = head_at(p.out, (int64_t)b * p.queries + i, h);
    for (int e = 0; e < PARTS; e++)
      if (e * 32 + lane < p.out.dim) put(p.out, o + e * 32 + lane, out[e] / sum);
    if (lane == 0) p.lse[w] = top + logf(sum);
  }
}

// delta = dout . out of each query
extern "C" __global__ void plain_attention_delta(PlainAttentionArgs p) {
  int lane = threadIdx.x % 32;
  for (int64_t w = WARP; w < (int64_t)p.batch * p.q.n * p.queries; w += WARPS) {
    int i = w % p.queries, h = w / p.queries % p.q.n, b = w / p.queries / p.q.n;
    int64_t row = (int64_t)b * p.queries + i, o = head_at(p.out, row, h), d = head_at(p.dout, row, h);
    float s = 0;
    for (int l = lane; l < p.out.dim; l += 32) s += get(p.out, o + l) * get(p.dout, d + l);
    s = warp_sum(s);
    if (lane == 0) p.delta[w] = s;
  }
}

// A query that sees one key alone has a score gradient of 0, not of rounding errors.
extern "C" __global__ void plain_attention_grad_q(PlainAttentionArgs p) {
  int lane = threadIdx.x % 32, group = p.q.n / p.k.n;
  for (int64_t w = WARP; w < (int64_t)p.batch * p.q.n * p.queries; w += WARPS) {
    int i = w % p.queries, h = w / p.queries % p.q.n, b = w / p.queries / p.q.n;
    int64_t row = (int64_t)b * p.queries + i, q = head_at(p.q, row, h), d = head_at(p.dout, row, h);
    float lse = p.lse[w], delta = p.delta[w], dq[PARTS];
    for (int e = 0; e < PARTS; e++) dq[e] = 0;
    int first = first_key(p, b, i), last = p.keys - p.queries + i;
    for (int j0 = first; j0 <= last && first < last; j0 += 32) {
      float ds = 0;
      if (j0 + lane <= last) {
        int64_t key = (int64_t)b * p.keys + j0 + lane;
        Score s = score(p, q, head_at(p.k, key, h / group));
        ds = expf(s.value - lse) * (product(p.dout, d, p.v, head_at(p.v, key, h / group)) - delta) * s.slope * p.scale;
      }
      for (int t = 0; t < 32; t++) {
        float x = shuffle(ds, t);
        if (j0 + t > last) break;
        int64_t k = head_at(p.k, (int64_t)b * p.keys + j0 + t, h / group);
        for (int e = 0; e < PARTS; e++)
          if (e * 32 + lane < p.k.dim) dq[e] += x * get(p.k, k + e * 32 + lane);
      }
    }
    int64_t o = head_at(p.dq, row, h);
    for (int e = 0; e < PARTS; e++)
      if (e * 32 + lane < p.dq.dim) put(p.dq, o + e * 32 + lane, dq[e]);
  }
}

extern "C" __global__ void plain_attention_grad_kv(PlainAttentionArgs p) {
  int lane = threadIdx.x % 32, group = p.q.n / p.k.n;
  for (int64_t w = WARP; w < (int64_t)p.batch * p.k.n * p.keys; w += WARPS) {
    int j = w % p.keys, kh = w / p.keys % p.k.n, b = w / p.keys / p.k.n;
    int64_t key = (int64_t)b * p.keys + j, k = head_at(p.k, key, kh), v = head_at(p.v, key, kh);
    float dk[PARTS], dv[PARTS];
    for (int e = 0; e < PARTS; e++) dk[e] = dv[e] = 0;
    int from = j - (p.keys - p.queries); // the first query at or behind this key
    if (from < 0) from = 0;
    for (int h = kh * group; h < (kh + 1) * group; h++)
      for (int i0 = from; i0 < p.queries; i0 += 32) {
        int i = i0 + lane;
        float prob = 0, ds = 0;
        if (i < p.queries) {
          int first = first_key(p, b, i);
          if (j >= first) {
            int64_t row = (int64_t)b * p.queries + i, at = ((int64_t)b * p.q.n + h) * p.queries + i;
            Score s = score(p, head_at(p.q, row, h), k);
            prob = expf(s.value - p.lse[at]);
            if (first < p.keys - p.queries + i)
              ds = prob * (product(p.dout, head_at(p.dout, row, h), p.v, v) - p.delta[at]) * s.slope * p.scale;
          }
        }
        for (int t = 0; t < 32; t++) {
          float x = shuffle(prob, t), y = shuffle(ds, t);
          if (i0 + t >= p.queries) break;
          int64_t row = (int64_t)b * p.queries + i0 + t, q = head_at(p.q, row, h), d = head_at(p.dout, row, h);
          for (int e = 0; e < PARTS; e++)
            if (e * 32 + lane < p.q.dim) {
              dv[e] += x * get(p.dout, d + e * 32 + lane);
              dk[e] += y * get(p.q, q + e * 32 + lane);
            }
        }
      }
    int64_t ok = head_at(p.dk, key, kh), ov = head_at(p.dv, key, kh);
    for (int e = 0; e < PARTS; e++)
      if (e * 32 + lane < p.dk.dim) {
        put(p.dk, ok + e * 32 + lane, dk[e]);
        put(p.dv, ov + e * 32 + lane, dv[e]);
      }
  }
}
