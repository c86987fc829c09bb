// Runs a file's kernels on the CPU: a stand-in for a GPU with one piece of memory. It is
// compiled once for each source: g++ -DEMULATE -I.. -include ../NAME.cu main.cpp -rdynamic.
//
// Input, little-endian: u64 base address and u64 size of the memory, its bytes; then launches
// until the input ends: u32 length and bytes of a kernel's name, u32 grid x, y, z, threads,
// shared bytes, blocks a cluster, u32 length and bytes of its parameter. Output: the memory's bytes.
#include <dlfcn.h>
#include <sys/mman.h>
#include <string>

// A parameter is passed by value in memory, so that a kernel finds its own at the start of this.
struct alignas(64) Parameter { char bytes[1024]; };

static bool read_bytes(void* to, size_t n) { return fread(to, 1, n, stdin) == n; }
static void must(bool ok, const char* what) {
  if (!ok) fprintf(stderr, "emulator: %s\n", what), exit(1);
}

int main() {
  uint64_t base, size;
  must(read_bytes(&base, 8) && read_bytes(&size, 8), "no memory");
  char* memory = (char*)mmap((void*)base, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  must((uint64_t)memory == base, "the memory's address is taken");
  must(read_bytes(memory, size), "memory is short");
  void* self = dlopen(nullptr, RTLD_NOW);
  for (uint32_t n; read_bytes(&n, 4);) {
    std::string name(n, 0);
    uint32_t x[6];
    must(read_bytes(name.data(), n) && read_bytes(x, sizeof x) && read_bytes(&n, 4) && n <= sizeof(Parameter), "a launch is short");
    static Parameter p;
    must(read_bytes(p.bytes, n), "a parameter is short");
    auto kernel = (void (*)(Parameter))dlsym(self, name.c_str());
    must(kernel, ("no kernel " + name).c_str());
    emu::run(x[0], x[1], x[2], x[3], x[4], [=] { kernel(p); }, 1, x[5]);
  }
  must(fwrite(memory, 1, size, stdout) == size, "output");
}
