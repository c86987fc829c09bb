// Writes when each kernel, copy and clearing of memory began and ended on the GPU: a library that the driver
// loads into a program (CUDA_INJECTION64_PATH), on NVIDIA's CUPTI. scripts/gpu-profile builds and reads it.
#include <cupti.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *out;

static void request(uint8_t **buffer, size_t *size, size_t *records) {
  *size = 64 << 10; // handed back when it is full
  *buffer = aligned_alloc(8, *size);
  *records = 0;
}

static void complete(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid) {
  (void)context, (void)stream, (void)size;
  CUpti_Activity *r = NULL;
  while (cuptiActivityGetNextRecord(buffer, valid, &r) == CUPTI_SUCCESS) {
    if (r->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      KERNEL *k = (KERNEL *)r;
      fprintf(out, "%llu %llu %s\n", (unsigned long long)k->start, (unsigned long long)k->end, k->name);
    } else if (r->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      CUpti_ActivityMemcpy5 *k = (CUpti_ActivityMemcpy5 *)r;
      fprintf(out, "%llu %llu copy\n", (unsigned long long)k->start, (unsigned long long)k->end);
    } else if (r->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      CUpti_ActivityMemset4 *k = (CUpti_ActivityMemset4 *)r;
      fprintf(out, "%llu %llu clear\n", (unsigned long long)k->start, (unsigned long long)k->end);
    }
  }
  fflush(out);
  free(buffer);
}

// Go ends a process without telling anyone.
static void *flush(void *unused) {
  for (;; usleep(100000)) cuptiActivityFlushAll(0);
  return unused;
}

int InitializeInjection(void) {
  if (!(out = fopen(getenv("SCU_PROFILE"), "w"))) return 0;
  cuptiActivityRegisterCallbacks(request, complete);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET);
  pthread_t thread;
  pthread_create(&thread, NULL, flush, NULL);
  return 1;
}
