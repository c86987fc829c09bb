// The activation of a feed-forward layer, gated or not, together with the thin products of the adapters beside it, which
// read what it reads or makes:
//
//   gate_down: x = act(gate) up, and u = mask(x) A^T of the layer Down that reads x
//   gate_both: from dx, dgate = dx up act'(gate) and dup = dx act(gate); of the layers that made gate and up
//              du_g = dgate B_g and db_g = dgate^T u_g, and the same of up; of Down, dA = du^T mask(x)
//   act_down and act_both: the same without up
//
// Results may overwrite what they are made of. x isn't written going back. Sums over blocks are parts, which lora_sum
// adds up. Floors in bytes an element of 16 bits: 6 and 10, without up 4 and 6. Ranks to 16, a group each.
// A block owns 512 columns and `rows` rows, each of its 8 warps 64 of the columns; 16 rows at a time come through shared
// memory, where the results take the place of what they are made of and are the products' operands.
#include "gate.cuh"
#include "lora.cuh"

enum { OF_GATE, OF_UP, OF_DOWN };

struct GateLoRAArgs {
  const void *gate, *up, *dx; // [m,n]
  void *x, *dgate, *dup;
  const uint32_t* mask; // bits of x, as in lora_fast.cu; or null
  float *part, *part_b; // down: [ceil(n/512)][m][16]; both: [ceil(n/512)][m][32] and [ceil(m/rows)][n][48], or 16 and 32
  const float* w[3];    // down: [OF_DOWN] is A [rank,n]; both: B [n,rank] of gate and up
  const void* u[3];     // both: u of gate and up, du of Down [m,rank]
  int gate_row, up_row, dx_row, x_row, dgate_row, dup_row;
  int w_row[3], u_row[3], rank[3];
  int m, n, rows;
};

constexpr int WARPS = 8, WC = 64, STEP = 16, STAGES = 2, SLAB = STEP * 2 * WC;

// What both kernels do with a step of rows: a warp's tiles of gate, up and dx come in, one behind the other.
template <class T, bool UP, bool GRAD> struct Step {
  static constexpr int TILES = 1 + UP + GRAD;
  int thread, lane, warp, col0, m0, m1, steps;
  DEVICE Step(const GateLoRAArgs& a) {
    thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    col0 = (blockIdx.x * WARPS + warp) * WC, m0 = blockIdx.y * a.rows, m1 = min(m0 + a.rows, a.m), steps = (m1 - m0 + STEP - 1) / STEP;
  }
  // The i-th of the lane's vectors: its row in the tile, and whether it is in the matrix.
  DEVICE int row(int i) const { return i * 4 + (lane >> 3); }
  DEVICE int column() const { return col0 + (lane & 7) * 8; }
  DEVICE uint32_t in_tile(int i) const { return chunk_at<WC>(row(i), lane & 7); }
  DEVICE bool inside(const GateLoRAArgs& a, int step, int i) const { return m0 + step * STEP + row(i) < m1 && column() < a.n; }
  DEVICE void fetch(const GateLoRAArgs& a, int step, uint32_t at) const {
#pragma unroll
    for (int i = 0; i < STEP / 4; i++) {
      bool ok = inside(a, step, i);
      int64_t r = m0 + step * STEP + row(i);
      uint32_t to = at + warp * TILES * SLAB + in_tile(i);
      copy16(to, (const T*)a.gate + (ok ? r * a.gate_row + column() : 0), ok);
      if constexpr (UP) copy16(to + SLAB, (const T*)a.up + (ok ? r * a.up_row + column() : 0), ok);
      if constexpr (GRAD) copy16(to + (TILES - 1) * SLAB, (const T*)a.dx + (ok ? r * a.dx_row + column() : 0), ok);
    }
  }
  DEVICE void bits(uint32_t (&b)[STEP / 4], const GateLoRAArgs& a, int step) const {
#pragma unroll
    for (int i = 0; i < STEP / 4; i++)
      b[i] = inside(a, step, i) ? ((const uint8_t*)a.mask)[((int64_t)(m0 + step * STEP + row(i)) * a.n + column()) / 8] : 0;
  }
};
template <class T> DEVICE uint4 packed(const float (&f)[8]) { return make_uint4(pack<T>(f[0], f[1]), pack<T>(f[2], f[3]), pack<T>(f[4], f[5]), pack<T>(f[6], f[7])); }

// u += a tile [16][64] times a group's operand.
template <class T> DEVICE void across(float (&u0)[4], float (&u1)[4], uint32_t tile, const uint32_t (&w)[4][4], int lane) {
#pragma unroll
  for (int k = 0; k < WC / 16; k++) {
    uint32_t x[4];
    load_matrix(x, chunk_from<WC>(tile + lane_rows_first<WC>(lane), 2 * k));
    mma<T>(u0, x, w[k][0], w[k][1]);
    mma<T>(u1, x, w[k][2], w[k][3]);
  }
}

// A block's steps: while body works on one, fetch brings the next one's rows to shared memory. body gets where its own are,
// the warp's place for its share of the sum, of R columns, and the mask's bits. A step's shares are added up in the next.
template <int R, int STAGE, bool MASK, class S, class Fetch, class Body>
DEVICE void each_step(const S& s, const GateLoRAArgs& a, uint32_t base, float* shares, Fetch fetch, Body body) {
  constexpr int SHARE = STEP * R;
  auto write_sum = [&](int step) {
    sum_shares<WARPS, STEP, R>(a.part, shares + (step & 1) * WARPS * SHARE, s.thread, (int64_t)blockIdx.x * a.m, s.m0 + step * STEP, s.m1);
  };
  uint32_t bits[STEP / 4];
  if (MASK) s.bits(bits, a, 0);
  for (int step = 0; step < s.steps; step++) {
    copy_wait<STAGES - 2>();
    __syncthreads();
    if (step + 1 < s.steps) fetch(step + 1, base + (step + 1) % STAGES * STAGE);
    copy_commit();
    if (step > 0) write_sum(step - 1);
    body(step, base + step % STAGES * STAGE, shares + ((step & 1) * WARPS + s.warp) * SHARE, bits);
    if (MASK) s.bits(bits, a, step + 1);
  }
  __syncthreads();
  if (s.steps > 0) write_sum(s.steps - 1);
}

template <class T, int ACT, bool UP, bool MASK> DEVICE void down(const GateLoRAArgs& a) {
  constexpr int R = 16, TILES = 1 + UP, STAGE = WARPS * TILES * SLAB, SHARE = STEP * R;
  DYNAMIC_SHARED(shared);
  Step<T, UP, false> s(a);
  uint32_t base = shared_address(shared);
  float* shares = (float*)(shared + STAGES * STAGE); // [2][WARPS][STEP][R]
  if (s.steps > 0) s.fetch(a, 0, base);
  copy_commit();
  uint32_t w[4][4];
  static_assert(2 * SHARE * 4 >= OPERAND, "room for a group");
  right_operand<T, false>(w, shared_address(shares + s.warp * 2 * SHARE), a.w[OF_DOWN], a.w_row[OF_DOWN], a.rank[OF_DOWN], s.col0, a.n, s.lane);
  auto fetch = [&](int step, uint32_t at) { s.fetch(a, step, at); };
  each_step<R, STAGE, MASK>(s, a, base, shares, fetch, [&](int step, uint32_t at, float* share, const uint32_t (&bits)[STEP / 4]) {
    uint32_t tile = at + s.warp * TILES * SLAB;
#pragma unroll
    for (int i = 0; i < STEP / 4; i++) {
      float g[8], u[8];
      unpack<T>(g, load_shared16(tile + s.in_tile(i)));
      if (UP) unpack<T>(u, load_shared16(tile + SLAB + s.in_tile(i)));
#pragma unroll
      for (int e = 0; e < 8; e++) {
        float y, slope;
        act<ACT>(g[e], y, slope);
        g[e] = UP ? y * u[e] : y;
      }
      uint4 x = packed<T>(g);
      if (s.inside(a, step, i)) *(uint4*)((T*)a.x + (int64_t)(s.m0 + step * STEP + s.row(i)) * a.x_row + s.column()) = x;
      store_shared16(tile + s.in_tile(i), MASK ? masked(x, bits[i]) : x);
    }
    sync_warp();
    float u[1][2][4];
    clear(u);
    across<T>(u[0][0], u[0][1], tile, w, s.lane);
    put_share<R>(share, u[0], 0, s.lane);
  });
}

template <class T, int ACT, bool UP, bool MASK> DEVICE void both(const GateLoRAArgs& a) {
  constexpr int MADE = 1 + UP, TILES = MADE + 1, R = 16 * MADE; // MADE: the layers whose results come in; Down's tile is the last
  constexpr int UTILE = STEP * 2 * 16, SLABS = WARPS * TILES * SLAB, STAGE = SLABS + TILES * UTILE, SHARE = STEP * R;
  DYNAMIC_SHARED(shared);
  Step<T, UP, true> s(a);
  uint32_t base = shared_address(shared);
  float* shares = (float*)(shared + STAGES * STAGE);
  auto fetch = [&](int step, uint32_t at) {
    s.fetch(a, step, at);
    if (s.thread < TILES * STEP * 2) {
      int tile = s.thread / (STEP * 2), of = tile < MADE ? tile : OF_DOWN, r = s.thread / 2 % STEP, c = s.thread % 2;
      int64_t row = s.m0 + step * STEP + r;
      bool ok = row < s.m1 && c * 8 < a.rank[of];
      copy16(at + SLABS + tile * UTILE + chunk_at<16>(r, c), (const T*)a.u[of] + (ok ? row * a.u_row[of] + c * 8 : 0), ok);
    }
  };
  if (s.steps > 0) fetch(0, base);
  copy_commit();
  uint32_t w[MADE][4][4];
  static_assert(2 * SHARE * 4 >= OPERAND, "room for a group");
#pragma unroll
  for (int of = 0; of < MADE; of++)
    right_operand<T, true>(w[of], shared_address(shares + s.warp * 2 * SHARE), a.w[of], a.w_row[of], a.rank[of], s.col0, a.n, s.lane);
  float tall[TILES * WC / 16][2][4]; // of gate's columns, up's and x's
  clear(tall);
  each_step<R, STAGE, MASK>(s, a, base, shares, fetch, [&](int step, uint32_t at, float* share, const uint32_t (&bits)[STEP / 4]) {
    uint32_t tile = at + s.warp * TILES * SLAB;
#pragma unroll
    for (int i = 0; i < STEP / 4; i++) {
      float g[8], u[8], d[8];
      unpack<T>(g, load_shared16(tile + s.in_tile(i)));
      if (UP) unpack<T>(u, load_shared16(tile + SLAB + s.in_tile(i)));
      unpack<T>(d, load_shared16(tile + MADE * SLAB + s.in_tile(i)));
#pragma unroll
      for (int e = 0; e < 8; e++) {
        float y, slope, up = UP ? u[e] : 1.f, dx = d[e];
        act<ACT>(g[e], y, slope);
        d[e] = y * up;
        g[e] = dx * slope * up;
        u[e] = dx * y;
      }
      uint4 dgate = packed<T>(g), dup = packed<T>(u), x = packed<T>(d);
      if (s.inside(a, step, i)) {
        int64_t row = s.m0 + step * STEP + s.row(i);
        *(uint4*)((T*)a.dgate + row * a.dgate_row + s.column()) = dgate;
        if (UP) *(uint4*)((T*)a.dup + row * a.dup_row + s.column()) = dup;
      }
      store_shared16(tile + s.in_tile(i), dgate);
      if (UP) store_shared16(tile + SLAB + s.in_tile(i), dup);
      store_shared16(tile + MADE * SLAB + s.in_tile(i), MASK ? masked(x, bits[i]) : x);
    }
    sync_warp();
    float du[1][2 * MADE][4];
    clear(du);
#pragma unroll
    for (int of = 0; of < MADE; of++) across<T>(du[0][2 * of], du[0][2 * of + 1], tile + of * SLAB, w[of], s.lane);
    put_share<R>(share, du[0], 0, s.lane);
#pragma unroll
    for (int of = 0; of < TILES; of++) {
      uint32_t u[4];
      load_matrix_trans(u, at + SLABS + of * UTILE + lane_rows_first<16>(s.lane));
#pragma unroll
      for (int i = 0; i < WC / 16; i++) {
        uint32_t x[4];
        load_matrix_trans(x, chunk_from<WC>(tile + of * SLAB + lane_chunks_first<WC>(s.lane), 2 * i));
        mma<T>(tall[of * 4 + i][0], x, u[0], u[1]);
        mma<T>(tall[of * 4 + i][1], x, u[2], u[3]);
      }
    }
  });
  int g = s.lane >> 2, t = s.lane & 3;
#pragma unroll
  for (int of = 0; of < TILES; of++)
#pragma unroll
    for (int i = 0; i < WC / 16; i++)
#pragma unroll
      for (int n = 0; n < 2; n++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          int column = s.col0 + i * 16 + h * 8 + g;
          float2 v = make_float2(tall[of * 4 + i][n][2 * h], tall[of * 4 + i][n][2 * h + 1]);
          if (column < a.n) *(float2*)(a.part_b + ((int64_t)blockIdx.y * a.n + column) * (16 * TILES) + of * 16 + n * 8 + 2 * t) = v;
        }
}

#define KERNEL(gate, name, mask, blocks, ACT, act_name, T, UP, MASK) \
  extern "C" __global__ void __launch_bounds__(256, blocks) gate##_##name##mask##_##act_name##_##T(const __grid_constant__ GateLoRAArgs a) { begin(); name<T, ACT, UP, MASK>(a); }
#define KERNELS(gate, ACT, act_name, T, UP, down_blocks, both_blocks) \
  KERNEL(gate, down, , down_blocks, ACT, act_name, T, UP, false) \
  KERNEL(gate, down, _masked, down_blocks, ACT, act_name, T, UP, true) \
  KERNEL(gate, both, , both_blocks, ACT, act_name, T, UP, false) \
  KERNEL(gate, both, _masked, both_blocks, ACT, act_name, T, UP, true)
#define TYPES(T) \
  KERNELS(gate, SILU, silu, T, true, 2, 1) \
  KERNELS(gate, GELU_TANH, gelu_tanh, T, true, 2, 1) \
  KERNELS(act, GELU_TANH, gelu_tanh, T, false, 3, 2)
TYPES(bf16)
TYPES(f16)
