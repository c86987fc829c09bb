// A CUDA driver without a GPU, for tests: memory is the host's, and a launch runs the kernel's own
// source on the CPU (emulate.h), at once. What real memory and launches wouldn't take is refused
// or ends the process; any call can be made to fail.
#include <dlfcn.h>
#include <glob.h>
#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

typedef int Result;
typedef unsigned long long Address;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, NOT_FOUND = 500, UNSUPPORTED_IN_CAPTURE = 900, UNJOINED = 904 };

typedef void (*Run)(void* kernel, const void* args, unsigned gx, unsigned gy, unsigned gz, unsigned threads, unsigned shared, unsigned cluster);
struct Kernel { std::string name; void* entry; Run run; int shared; };

// Each source's kernels are a library of their own beside this one.
static Kernel* find(const char* name) {
  static std::map<std::string, Kernel> kernels;
  static std::vector<void*> libraries;
  if (libraries.empty()) {
    std::string pattern = getenv("SCU_CUDA_DRIVER");
    pattern = pattern.substr(0, pattern.rfind('/')) + "/*.kernels.so";
    glob_t found;
    if (glob(pattern.c_str(), 0, nullptr, &found)) return nullptr;
    for (size_t i = 0; i < found.gl_pathc; i++) {
      void* l = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
      if (!l) fprintf(stderr, "%s\n", dlerror()), abort();
      libraries.push_back(l);
    }
  }
  auto known = kernels.find(name);
  if (known != kernels.end()) return &known->second;
  for (void* l : libraries)
    if (void* entry = dlsym(l, name)) return &(kernels[name] = {name, entry, (Run)dlsym(l, "run_kernel"), 48 << 10});
  return nullptr;
}

struct Allocation { size_t bytes, mapped; char* base; };
// What was recorded, as it would be run.
typedef std::vector<std::function<void()>> Graph;
struct Driver {
  std::map<Address, Allocation> device, pinned;
  int contexts, streams, events, modules, graphs;
  long long calls, fail_at, fail_code, fail_on; // fail_on: every call from the failing one
  size_t used, total;
};
static Driver driver = {{}, {}, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, (size_t)4 << 30};
static thread_local bool current;
static Graph* recording; // what is queued goes there
// A stream. One made with a priority is for copies beside the work, and does them as late as it may: when the work's stream
// waits for an event behind them.
struct Stream { bool beside; std::vector<std::function<void()>> late; };
struct Event { Stream* of; size_t behind; }; // behind so many of the stream's late copies
static std::set<Event*> events;
static std::set<Stream*> streams;

// What every call begins with: counting, and failing when it is this call's turn.
#define CALL                                                             \
  if (++driver.calls == driver.fail_at || (driver.fail_on && driver.fail_at > 0 && driver.calls > driver.fail_at)) return (Result)driver.fail_code;
#define IN_CONTEXT CALL if (!current) return INVALID_CONTEXT;
// Not while work is recorded, which none of this can be a part of.
#define AT_ONCE IN_CONTEXT if (recording) return UNSUPPORTED_IN_CAPTURE;

// The end of memory lies before a page that can't be touched.
static Result allocate(std::map<Address, Allocation>& where, Address* p, size_t n) {
  size_t page = sysconf(_SC_PAGESIZE), bytes = (n + 15) / 16 * 16, mapped = (bytes + page - 1) / page * page + page;
  if (driver.used + n > driver.total) return OUT_OF_MEMORY;
  char* base = (char*)mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return OUT_OF_MEMORY;
  mprotect(base + mapped - page, page, PROT_NONE);
  *p = (Address)(base + mapped - page - bytes);
  memset((void*)*p, 0xff, n); // whoever reads what nobody wrote gets no number
  where[*p] = {n, mapped, base};
  driver.used += n;
  return SUCCESS;
}
static Result release(std::map<Address, Allocation>& where, Address p) {
  auto a = where.find(p);
  if (a == where.end()) return INVALID_VALUE;
  driver.used -= a->second.bytes;
  munmap(a->second.base, a->second.mapped);
  where.erase(a);
  return SUCCESS;
}
static bool within(Address p, size_t n, std::map<Address, Allocation>& where = driver.device) {
  auto a = where.upper_bound(p);
  if (a == where.begin()) return false;
  --a;
  return p + n <= a->first + a->second.bytes;
}

static Result queue(std::function<void()> work) {
  if (recording) recording->push_back(work);
  else work();
  return SUCCESS;
}

// The first n of a stream's late copies are done.
static void catch_up(Stream* s, size_t n) {
  n = std::min(n, s->late.size());
  for (size_t i = 0; i < n; i++) queue(s->late[i]);
  s->late.erase(s->late.begin(), s->late.begin() + n);
  for (Event* e : events)
    if (e->of == s) e->behind -= std::min(e->behind, n);
}

extern "C" {
// For the tests.
void fake_fail(long long at, int code, int on) { driver.calls = 0, driver.fail_at = at, driver.fail_code = code, driver.fail_on = on; }
long long fake_calls(void) { return driver.calls; }
void fake_room(size_t bytes) { driver.total = driver.used + bytes; }
int fake_live(void) { return (int)(driver.device.size() + driver.pinned.size()) + driver.contexts + driver.streams + driver.events + driver.modules + driver.graphs; }

Result cuInit(unsigned) { return SUCCESS; }
Result cuDriverGetVersion(int* v) { *v = 12040; return SUCCESS; }
Result cuGetErrorName(Result r, const char** s) { *s = r == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : r == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR"; return SUCCESS; }
Result cuGetErrorString(Result r, const char** s) { *s = r == OUT_OF_MEMORY ? "out of memory" : r == 719 ? "unspecified launch failure" : "an error"; return SUCCESS; }
Result cuDeviceGetCount(int* n) { CALL *n = 1; return SUCCESS; }
Result cuDeviceGet(int* d, int i) { CALL *d = i; return SUCCESS; }
Result cuDeviceGetName(char* name, int n, int) { CALL snprintf(name, n, "Fake"); return SUCCESS; }
Result cuDeviceTotalMem_v2(size_t* n, int) { CALL *n = driver.total; return SUCCESS; }
Result cuDeviceGetAttribute(int* v, int attribute, int) {
  CALL
  const char* capability = getenv("SCU_FAKE_CAPABILITY");
  int c = capability ? atoi(capability) : 80;
  *v = attribute == 75 ? c / 10 : attribute == 76 ? c % 10 : 2; // compute capability; else multiprocessors
  return SUCCESS;
}
Result cuDevicePrimaryCtxRetain(void** c, int) { CALL *c = &driver; driver.contexts++; return SUCCESS; }
Result cuDevicePrimaryCtxRelease_v2(int) { CALL if (!driver.contexts) return INVALID_CONTEXT; driver.contexts--; return SUCCESS; }
Result cuCtxSetCurrent(void* c) { CALL if (c != &driver) return INVALID_CONTEXT; current = true; return SUCCESS; }
Result cuCtxSetLimit(int limit, size_t) { IN_CONTEXT return limit == 0 ? SUCCESS : INVALID_VALUE; } // the stack's size
static Result make_stream(void** s, bool beside) {
  *s = *streams.insert(new Stream{beside, {}}).first;
  driver.streams++;
  return SUCCESS;
}
Result cuStreamCreate(void** s, unsigned) { IN_CONTEXT return make_stream(s, false); }
Result cuStreamCreateWithPriority(void** s, unsigned, int) { IN_CONTEXT return make_stream(s, true); }
Result cuStreamDestroy_v2(void* s) {
  IN_CONTEXT
  if (!streams.erase((Stream*)s)) return INVALID_VALUE;
  for (Event* e : events)
    if (e->of == s) e->of = nullptr;
  delete (Stream*)s;
  driver.streams--;
  return SUCCESS;
}
Result cuStreamSynchronize(void* s) { AT_ONCE catch_up((Stream*)s, ~0ul); return SUCCESS; }
Result cuStreamWaitEvent(void* s, void* event, unsigned) {
  IN_CONTEXT
  Event* e = (Event*)event;
  if (!e->of) return INVALID_VALUE; // it would wait for nothing
  if (e->of != s) catch_up(e->of, e->behind);
  return SUCCESS;
}
Result cuEventCreate(void** e, unsigned) { IN_CONTEXT *e = *events.insert(new Event{nullptr, 0}).first; driver.events++; return SUCCESS; }
Result cuEventDestroy_v2(void* e) { IN_CONTEXT if (!events.erase((Event*)e)) return INVALID_VALUE; delete (Event*)e; driver.events--; return SUCCESS; }
Result cuEventRecord(void* e, void* s) { IN_CONTEXT *(Event*)e = {(Stream*)s, ((Stream*)s)->late.size()}; return SUCCESS; }
Result cuEventSynchronize(void* e) { AT_ONCE if (((Event*)e)->of) catch_up(((Event*)e)->of, ((Event*)e)->behind); return SUCCESS; }
Result cuDeviceGetDefaultMemPool(void** p, int) { IN_CONTEXT *p = &driver.device; return SUCCESS; }
Result cuMemPoolSetAttribute(void*, int, void*) { IN_CONTEXT return SUCCESS; }
Result cuMemPoolTrimTo(void*, size_t) { IN_CONTEXT return SUCCESS; }
Result cuMemGetInfo_v2(size_t* available, size_t* total) { IN_CONTEXT *available = driver.total - driver.used, *total = driver.total; return SUCCESS; }
Result cuMemAllocAsync(Address* p, size_t n, void*) { AT_ONCE return n ? allocate(driver.device, p, n) : INVALID_VALUE; }
Result cuMemFreeAsync(Address p, void*) { AT_ONCE return release(driver.device, p); }
Result cuMemHostAlloc(void** p, size_t n, unsigned) { AT_ONCE return allocate(driver.pinned, (Address*)p, n); }
Result cuMemFreeHost(void* p) { AT_ONCE return release(driver.pinned, (Address)p); }
Result cuMemsetD8Async(Address p, unsigned char v, size_t n, void*) { IN_CONTEXT if (!within(p, n)) return INVALID_VALUE; return queue([=] { memset((void*)p, v, n); }); }
Result cuMemcpyHtoDAsync_v2(Address dst, const void* src, size_t n, void*) { AT_ONCE if (!within(dst, n)) return INVALID_VALUE; memcpy((void*)dst, src, n); return SUCCESS; }
Result cuMemcpyDtoHAsync_v2(void* dst, Address src, size_t n, void*) { AT_ONCE if (!within(src, n)) return INVALID_VALUE; memcpy(dst, (void*)src, n); return SUCCESS; }
// Between the GPU's memory and pinned memory, beside the work.
Result cuMemcpyAsync(Address dst, Address src, size_t n, void* stream) {
  IN_CONTEXT
  bool in = within(dst, n) && within(src, n, driver.pinned), out = within(src, n) && within(dst, n, driver.pinned);
  Stream* s = (Stream*)stream;
  if (!in && !out || !s->beside) return INVALID_VALUE;
  s->late.push_back([=] { memcpy((void*)dst, (void*)src, n); });
  return SUCCESS;
}
Result cuModuleLoadData(void** m, const void* image) { IN_CONTEXT if (!image) return INVALID_VALUE; *m = &driver.modules; driver.modules++; return SUCCESS; }
Result cuModuleUnload(void*) { IN_CONTEXT driver.modules--; return SUCCESS; }
Result cuModuleGetFunction(void** f, void*, const char* name) {
  IN_CONTEXT
  *f = find(name);
  return *f ? SUCCESS : NOT_FOUND;
}
Result cuFuncSetAttribute(void* f, int attribute, int value) {
  IN_CONTEXT
  if (attribute == 8) { // dynamic shared memory
    if (value > 227 << 10) return INVALID_VALUE;
    ((Kernel*)f)->shared = value;
  }
  return SUCCESS;
}
static Result start(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, unsigned cluster, void** parameters) {
  IN_CONTEXT
  Kernel* k = (Kernel*)f;
  if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535 || !bx || bx > 1024 || by != 1 || bz != 1 || (int)shared > k->shared || gx % cluster) {
    fprintf(stderr, "launch of %s refused: grid %u %u %u, %u threads, %u bytes of %d shared\n", k->name.c_str(), gx, gy, gz, bx, shared, k->shared);
    return INVALID_VALUE;
  }
  struct Parameter { char bytes[1024]; } p; // of which the caller has so many, whatever the kernel takes
  memcpy(p.bytes, parameters[0], sizeof p.bytes);
  return queue([=] { k->run(k->entry, p.bytes, gx, gy, gz, bx, shared, cluster); });
}
Result cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void*, void** parameters, void**) {
  return start(f, gx, gy, gz, bx, by, bz, shared, 1, parameters);
}
struct LaunchAttribute { unsigned id, unused, value[16]; };
struct LaunchConfig { unsigned gx, gy, gz, bx, by, bz, shared; void* stream; LaunchAttribute* attributes; unsigned count; };
Result cuLaunchKernelEx(const LaunchConfig* c, void* f, void** parameters, void**) {
  unsigned cluster = 1;
  for (unsigned i = 0; i < c->count; i++)
    if (c->attributes[i].id == 4) cluster = c->attributes[i].value[0];
  return start(f, c->gx, c->gy, c->gz, c->bx, c->by, c->bz, c->shared, cluster, parameters);
}
Result cuStreamBeginCapture_v2(void*, int) { AT_ONCE recording = new Graph; return SUCCESS; }
Result cuStreamEndCapture(void*, void** g) {
  Graph* made = recording;
  recording = nullptr; // whatever comes of it
  Result r = []() -> Result { IN_CONTEXT return SUCCESS; }();
  if (r) { delete made; return r; }
  if (!made) return INVALID_VALUE;
  bool joined = true;
  for (Stream* s : streams) joined = joined && s->late.empty(), s->late.clear();
  if (!joined) { delete made; return UNJOINED; }
  *g = made;
  driver.graphs++;
  return SUCCESS;
}
Result cuGraphInstantiateWithFlags(void** e, void* g, unsigned long long) { IN_CONTEXT *e = new Graph(*(Graph*)g); driver.graphs++; return SUCCESS; }
Result cuGraphDestroy(void* g) { IN_CONTEXT delete (Graph*)g; driver.graphs--; return SUCCESS; }
Result cuGraphExecDestroy(void* e) { IN_CONTEXT delete (Graph*)e; driver.graphs--; return SUCCESS; }
Result cuGraphLaunch(void* e, void*) {
  AT_ONCE
  for (auto& work : *(Graph*)e) work();
  return SUCCESS;
}
// A map for the emulated copy engine: pointer, 4 sizes, 3 strides in bytes, 4 box sizes.
Result cuTensorMapEncodeTiled(unsigned long long* map, int, unsigned rank, void* at, const unsigned long long* dims, const unsigned long long* strides, const unsigned* box,
                              const unsigned*, int, int, int, int) {
  CALL
  if (rank != 4 || (Address)at % 16 || strides[0] % 16 || strides[1] % 16 || strides[2] % 16) return INVALID_VALUE;
  memset(map, 0, 128);
  map[0] = (Address)at;
  for (int i = 0; i < 4; i++) map[1 + i] = dims[i], map[8 + i] = box[i];
  for (int i = 0; i < 3; i++) map[5 + i] = strides[i];
  return SUCCESS;
}
}
