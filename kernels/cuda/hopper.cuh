// Hopper's own instructions (sm_90a): warpgroup products, the tensor copy engine and its
// barriers.
#pragma once
#include "common.cuh"

struct __align__(64) TensorMap { uint64_t words[16]; }; // made by cuTensorMapEncodeTiled

#ifdef EMULATE
#include "hopper_emulate.h"
#else

DEVICE void barrier_init(uint32_t bar, int count) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory"); }
DEVICE void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async;" ::: "memory"); }
DEVICE void barrier_expect(uint32_t bar, int bytes) { asm volatile("{.reg .b64 t; mbarrier.arrive.expect_tx.shared.b64 t, [%0], %1;}" ::"r"(bar), "r"(bytes) : "memory"); }
DEVICE void barrier_arrive(uint32_t bar) { asm volatile("{.reg .b64 t; mbarrier.arrive.shared.b64 t, [%0];}" ::"r"(bar) : "memory"); }
DEVICE void barrier_wait(uint32_t bar, uint32_t parity) {
  asm volatile(
      "{.reg .pred p;\n"
      "AGAIN: mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n"
      "@p bra DONE;\n"
      "bra AGAIN;\n"
      "DONE: }" ::"r"(bar), "r"(parity) : "memory");
}
// A box of a 4-dimensional tensor into shared memory; completes on a barrier.
DEVICE void copy_tensor(uint32_t dst, const TensorMap* map, uint32_t bar, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
               ::"r"(dst), "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
}
// The same into both blocks of a cluster of two, each time on the barrier at the same place there.
DEVICE void copy_tensor_to_both(uint32_t dst, const TensorMap* map, uint32_t bar, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %4, %5, %6}], [%2], %7;"
               ::"r"(dst), "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "h"((uint16_t)3) : "memory");
}
// A box from shared memory into a tensor. What threads wrote there is seen after written() and a barrier among them;
// it may be overwritten once the storing thread has waited.
DEVICE void store_tensor(const TensorMap* map, uint32_t src, int c0, int c1, int c2, int c3) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map), "r"(src), "r"(c0), "r"(c1), "r"(c2), "r"(c3) : "memory");
}
DEVICE void written() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
DEVICE void store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
DEVICE void store_wait() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
// A block's number in its cluster, arrivals at another one's barrier, and a barrier for all of their threads.
DEVICE uint32_t cluster_rank() {
  uint32_t r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
// The arrival orders no memory of this thread's ("release.cluster" would, by a fence as slow as a third of the product);
// products have read their operands when they are waited for.
DEVICE void barrier_arrive(uint32_t bar, uint32_t rank) {
  asm volatile("{.reg .b32 a; mapa.shared::cluster.u32 a, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [a];}" ::"r"(bar), "r"(rank) : "memory");
}
// Two numbers into the shared memory of another block of the cluster, and out of this block's own.
DEVICE void store_shared_of(uint32_t address, uint32_t rank, float x, float y) {
  asm volatile("{.reg .b32 a; mapa.shared::cluster.u32 a, %0, %1; st.shared::cluster.v2.f32 [a], {%2, %3};}" ::"r"(address), "r"(rank), "f"(x), "f"(y) : "memory");
}
DEVICE float2 load_shared_pair(uint32_t address) {
  float2 v;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(address) : "memory");
  return v;
}
DEVICE void cluster_sync() { asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory"); }
template <int N> DEVICE void more_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> DEVICE void fewer_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
DEVICE void named_barrier(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

DEVICE void named_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }

DEVICE void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> DEVICE void group_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// Results of a warpgroup product may be used from here on: keeps the compiler from moving uses up.
template <int N> DEVICE void settle(float (&d)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) asm volatile("" : "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])::"memory");
}

// d[64 x 8N] (+)= A B, A and B in shared memory; TA, TB: stored with the row (column) index
// fastest. The same with A in registers. The first argument names the elements' type.
#define SUMS(d, i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define SUMS8(d, i) SUMS(d, i), SUMS(d, i + 1), SUMS(d, i + 2), SUMS(d, i + 3), SUMS(d, i + 4), SUMS(d, i + 5), SUMS(d, i + 6), SUMS(d, i + 7)
#define NUMBERS32 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NUMBERS64 NUMBERS32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NUMBERS128 NUMBERS64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define GROUP_MMA(T, type) \
  template <int TA, int TB> DEVICE void group_mma(T, float (&d)[8][4], uint64_t a, uint64_t b, int add) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %34, 0;\n" \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" NUMBERS32 "}, %32, %33, p, 1, 1, %35, %36;}" \
        : SUMS8(d, 0) : "l"(a), "l"(b), "r"(add), "n"(TA), "n"(TB) : "memory"); \
  } \
  template <int TB> DEVICE void group_mma(T, float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, int add) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %37, 0;\n" \
        "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type " {" NUMBERS32 "}, {%32, %33, %34, %35}, %36, p, 1, 1, %38;}" \
        : SUMS8(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TB) : "memory"); \
  } \
  template <int TA, int TB> DEVICE void group_mma(T, float (&d)[16][4], uint64_t a, uint64_t b, int add) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0;\n" \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" NUMBERS64 "}, %64, %65, p, 1, 1, %67, %68;}" \
        : SUMS8(d, 0), SUMS8(d, 8) : "l"(a), "l"(b), "r"(add), "n"(TA), "n"(TB) : "memory"); \
  } \
  template <int TB> DEVICE void group_mma(T, float (&d)[16][4], const uint32_t (&a)[4], uint64_t b, int add) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %69, 0;\n" \
        "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" NUMBERS64 "}, {%64, %65, %66, %67}, %68, p, 1, 1, %70;}" \
        : SUMS8(d, 0), SUMS8(d, 8) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add), "n"(TB) : "memory"); \
  } \
  template <int TA, int TB> DEVICE void group_mma(T, float (&d)[32][4], uint64_t a, uint64_t b, int add) { \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %130, 0;\n" \
        "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" NUMBERS128 "}, %128, %129, p, 1, 1, %131, %132;}" \
        : SUMS8(d, 0), SUMS8(d, 8), SUMS8(d, 16), SUMS8(d, 24) : "l"(a), "l"(b), "r"(add), "n"(TA), "n"(TB) : "memory"); \
  }
GROUP_MMA(bf16, "bf16")
GROUP_MMA(f16, "f16")

#endif

// Tiles here are [D/64][rows][64] bf16: 128-byte rows, chunks permuted within 8 rows, as the
// copy engine writes them in 128-byte swizzle. What a product reads of them is told by a word:
// start, stride between 64-column parts (only where the row index runs fastest), stride between 8-row groups.
DEVICE uint64_t tile_word(uint32_t address, uint32_t part) {
  return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(part >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

template <int N> DEVICE void clear(float (&x)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++) x[i][0] = x[i][1] = x[i][2] = x[i][3] = 0.f;
}
// A ring of stages between the fetching warp and the computing ones: `full` and `empty`
// barriers; a running count n tells stage and parity.
template <int STAGES> struct Ring {
  uint32_t full, empty;
  DEVICE static uint32_t stage(int n) { return n % STAGES; }
  DEVICE static uint32_t parity(int n) { return n / STAGES & 1; }
  DEVICE void wait_full(int n) const { barrier_wait(full + 8 * stage(n), parity(n)); }
  DEVICE void wait_empty(int n) const { barrier_wait(empty + 8 * stage(n), parity(n) ^ 1); }
  DEVICE void release(int n, int lane) const { if (lane == 0) barrier_arrive(empty + 8 * stage(n)); }
  DEVICE void init(int producers, int consumers) const {
#pragma unroll
    for (int i = 0; i < STAGES; i++) barrier_init(full + 8 * i, producers), barrier_init(empty + 8 * i, consumers);
  }
};
