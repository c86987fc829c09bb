// The few parts of cuBLASLt that products need, without its headers. The values and the two
// structures are the same from version 11.4 to 13.0 on.
#include <stddef.h>
#include <stdint.h>

enum { LT_R_32F = 0, LT_R_16F = 2, LT_R_16BF = 14, LT_COMPUTE_32F = 68 };
enum { LT_DESC_TRANSA = 3, LT_DESC_TRANSB = 4, LT_PREFERENCE_MAX_WORKSPACE = 1, LT_ALGO_CONFIG_TILE = 1 };

typedef struct { uint64_t data[8]; } lt_algorithm;
typedef struct {
  lt_algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
} lt_heuristic;

// A product d = alpha op(a) op(b) + beta c of column-major matrices.
typedef struct {
  int trans_a, trans_b;
  int type_ab, type_c;
  uint64_t m, n, k;
  int64_t lda, ldb, ldc;
} lt_shape;

typedef struct lt_plan lt_plan;

const char *lt_load(const char *path); // NULL, or why it failed
size_t lt_version(void);
int lt_create(void **handle);
int lt_destroy(void *handle);
int lt_plan_make(void *handle, const lt_shape *shape, size_t workspace, int most, lt_heuristic *found, int *count, lt_plan **plan);
int lt_plan_check(void *handle, const lt_plan *plan, const lt_algorithm *algorithm, size_t workspace); // 0: it can make the product
int lt_tile(const lt_algorithm *algorithm); // a cublasLtMatmulTile_t, or -1
void lt_plan_choose(lt_plan *plan, const lt_algorithm *algorithm);
void lt_plan_free(lt_plan *plan);
int lt_run(void *handle, void *context, const lt_plan *plan, float alpha, uint64_t a, uint64_t b, float beta, uint64_t c, uint64_t d,
           uint64_t workspace, size_t workspace_size, void *stream);
