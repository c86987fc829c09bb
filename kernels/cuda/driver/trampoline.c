//go:build cuda && cgo && linux

// Every function of the driver that the program uses, as a jump to where it really is: the
// program starts where there is no driver, and says so when it is asked for a GPU.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "symbols.h"

#if defined(__x86_64__)
#define JUMP(name) "\tjmp *scu_" #name "(%rip)\n"
#define FUNCTION "@function"
#elif defined(__aarch64__)
#define JUMP(name) "\tadrp x16, scu_" #name "\n\tldr x16, [x16, :lo12:scu_" #name "]\n\tbr x16\n"
#define FUNCTION "%function"
#endif

#define SYMBOL(name) \
  __attribute__((visibility("hidden"), used)) void *scu_##name; \
  __asm__(".text\n.globl " #name "\n.hidden " #name "\n.type " #name "," FUNCTION "\n" #name ":\n" JUMP(name) ".size " #name ",.-" #name "\n");
SYMBOLS
#undef SYMBOL

#define SYMBOL(name) {#name, &scu_##name},
static const struct { const char *name; void **slot; } symbols[] = {SYMBOLS};
#undef SYMBOL

enum { NO_DRIVER = -1, NO_DEVICE = 100 };

static int status = NO_DRIVER;
static char why[256];
static int (*real_init)(unsigned);

static int absent(void) { return NO_DEVICE; }
static int no_version(int *v) { return *v = 0; }
static int no_devices(int *n) { return *n = 0; }

// cu's package initialisation calls cuInit and ends the process if that fails: the result is
// kept for whoever asks.
static int init(unsigned flags) {
  if (real_init) status = real_init(flags);
  return 0;
}

__attribute__((constructor)) static void load(void) {
  const char *paths[] = {getenv("SCU_CUDA_DRIVER"), "libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"};
  void *library = NULL;
#ifdef M_ARENA_MAX
  mallopt(M_ARENA_MAX, 1); // calls come from any of Go's threads: each would keep an arena with what the driver left there
#endif
  for (size_t i = 0; i < sizeof paths / sizeof *paths && !library; i++) {
    if (!paths[i] || !*paths[i]) continue;
    library = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
    const char *error = dlerror();
    if (!library && !*why && error) strncpy(why, error, sizeof why - 1);
    if (i == 0) break; // what is named is meant
  }
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
    void *f = library ? dlsym(library, symbols[i].name) : NULL;
    if (!strcmp(symbols[i].name, "cuInit")) {
      real_init = (int (*)(unsigned))f;
      f = (void *)init;
    } else if (!f && !strcmp(symbols[i].name, "cuDriverGetVersion")) {
      f = (void *)no_version;
    } else if (!f && !strcmp(symbols[i].name, "cuDeviceGetCount")) {
      f = (void *)no_devices;
    } else if (!f) {
      f = (void *)absent;
    }
    *symbols[i].slot = f;
  }
}

int scu_driver_status(void) { return status; }
const char *scu_driver_error(void) { return why; }
