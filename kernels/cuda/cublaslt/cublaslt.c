//go:build cuda && cgo && linux

#define _GNU_SOURCE
#include "cublaslt.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#define FUNCTIONS \
  F(cublasLtGetVersion, size_t, (void)) \
  F(cublasLtCreate, int, (void **)) \
  F(cublasLtDestroy, int, (void *)) \
  F(cublasLtMatmulDescCreate, int, (void **, int, int)) \
  F(cublasLtMatmulDescSetAttribute, int, (void *, int, const void *, size_t)) \
  F(cublasLtMatmulDescDestroy, int, (void *)) \
  F(cublasLtMatrixLayoutCreate, int, (void **, int, uint64_t, uint64_t, int64_t)) \
  F(cublasLtMatrixLayoutDestroy, int, (void *)) \
  F(cublasLtMatmulPreferenceCreate, int, (void **)) \
  F(cublasLtMatmulPreferenceSetAttribute, int, (void *, int, const void *, size_t)) \
  F(cublasLtMatmulPreferenceDestroy, int, (void *)) \
  F(cublasLtMatmulAlgoGetHeuristic, int, (void *, void *, void *, void *, void *, void *, void *, int, lt_heuristic *, int *)) \
  F(cublasLtMatmulAlgoConfigGetAttribute, int, (const lt_algorithm *, int, void *, size_t, size_t *)) \
  F(cublasLtMatmulAlgoCheck, int, (void *, void *, void *, void *, void *, void *, const lt_algorithm *, lt_heuristic *)) \
  F(cublasLtMatmul, int, (void *, void *, const void *, const void *, void *, const void *, void *, const void *, const void *, void *, void *, void *, const lt_algorithm *, void *, size_t, void *))

#define F(name, result, args) static result (*p_##name) args;
FUNCTIONS
#undef F

int cuCtxSetCurrent(void *); // of the driver

const char *lt_load(const char *path) {
  static char error[512];
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(error, sizeof error, "%s", dlerror());
    return error;
  }
#define F(name, result, args) \
  if (!(p_##name = (result (*) args)dlsym(library, #name))) { \
    snprintf(error, sizeof error, "%s has no " #name, path); \
    return error; \
  }
  FUNCTIONS
#undef F
  return NULL;
}

size_t lt_version(void) { return p_cublasLtGetVersion(); }
int lt_create(void **handle) { return p_cublasLtCreate(handle); }
int lt_destroy(void *handle) { return p_cublasLtDestroy(handle); }

struct lt_plan {
  void *operation, *a, *b, *c;
  lt_algorithm algorithm;
};

int lt_plan_make(void *handle, const lt_shape *s, size_t workspace, int most, lt_heuristic *found, int *count, lt_plan **plan) {
  lt_plan *p = calloc(1, sizeof *p);
  void *preference = NULL;
  int32_t ta = s->trans_a, tb = s->trans_b;
  int status;
  if ((status = p_cublasLtMatmulDescCreate(&p->operation, LT_COMPUTE_32F, LT_R_32F)) ||
      (status = p_cublasLtMatmulDescSetAttribute(p->operation, LT_DESC_TRANSA, &ta, sizeof ta)) ||
      (status = p_cublasLtMatmulDescSetAttribute(p->operation, LT_DESC_TRANSB, &tb, sizeof tb)) ||
      (status = p_cublasLtMatrixLayoutCreate(&p->a, s->type_ab, ta ? s->k : s->m, ta ? s->m : s->k, s->lda)) ||
      (status = p_cublasLtMatrixLayoutCreate(&p->b, s->type_ab, tb ? s->n : s->k, tb ? s->k : s->n, s->ldb)) ||
      (status = p_cublasLtMatrixLayoutCreate(&p->c, s->type_c, s->m, s->n, s->ldc)) ||
      (status = p_cublasLtMatmulPreferenceCreate(&preference)) ||
      (status = p_cublasLtMatmulPreferenceSetAttribute(preference, LT_PREFERENCE_MAX_WORKSPACE, &workspace, sizeof workspace)) ||
      (status = p_cublasLtMatmulAlgoGetHeuristic(handle, p->operation, p->a, p->b, p->c, p->c, preference, most, found, count)))
    lt_plan_free(p), p = NULL;
  if (preference) p_cublasLtMatmulPreferenceDestroy(preference);
  *plan = p;
  return status;
}

int lt_plan_check(void *handle, const lt_plan *p, const lt_algorithm *algorithm, size_t workspace) {
  lt_heuristic found;
  int status = p_cublasLtMatmulAlgoCheck(handle, p->operation, p->a, p->b, p->c, p->c, algorithm, &found);
  return status ? status : found.state ? found.state : found.workspace > workspace;
}

int lt_tile(const lt_algorithm *algorithm) {
  uint32_t tile;
  size_t written;
  return p_cublasLtMatmulAlgoConfigGetAttribute(algorithm, LT_ALGO_CONFIG_TILE, &tile, sizeof tile, &written) ? -1 : (int)tile;
}

void lt_plan_choose(lt_plan *p, const lt_algorithm *algorithm) { p->algorithm = *algorithm; }

void lt_plan_free(lt_plan *p) {
  if (p->operation) p_cublasLtMatmulDescDestroy(p->operation);
  if (p->a) p_cublasLtMatrixLayoutDestroy(p->a);
  if (p->b) p_cublasLtMatrixLayoutDestroy(p->b);
  if (p->c) p_cublasLtMatrixLayoutDestroy(p->c);
  free(p);
}

int lt_run(void *handle, void *context, const lt_plan *p, float alpha, uint64_t a, uint64_t b, float beta, uint64_t c, uint64_t d,
           uint64_t workspace, size_t workspace_size, void *stream) {
  if (cuCtxSetCurrent(context)) return 1;
  return p_cublasLtMatmul(handle, p->operation, &alpha, (void *)a, p->a, (void *)b, p->b, &beta, (void *)c, p->c, (void *)d, p->c,
                          &p->algorithm, (void *)workspace, workspace_size, stream);
}
