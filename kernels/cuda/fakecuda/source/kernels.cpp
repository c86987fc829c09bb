// One source's kernels for the fake driver, compiled with the source in front of it.
#include <dlfcn.h>

// A parameter is passed by value in memory, so that a kernel finds its own at the start of this.
struct alignas(64) Parameter { char bytes[1024]; };

extern "C" void run_kernel(void* kernel, const void* args, unsigned gx, unsigned gy, unsigned gz, unsigned threads, unsigned shared, unsigned cluster) {
  static Parameter p;
  memcpy(p.bytes, args, sizeof p.bytes); // of which the driver's caller has so many, whatever the kernel takes
  auto f = (void (*)(Parameter))kernel;
  emu::run(gx, gy, gz, threads, shared, [=] { f(p); }, 1, cluster);
}
