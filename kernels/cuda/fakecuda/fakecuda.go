//go:build cuda && cgo && linux

// Package fakecuda is a CUDA driver for tests on machines without a GPU: it runs the kernels'
// sources on the CPU. It stands in for libcuda.so.1 through the same dlopen.
package fakecuda

/*
#cgo LDFLAGS: -ldl
#include <dlfcn.h>
#include <stdlib.h>

static void *find(const char *library, const char *name) {
  void *l = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  return l ? dlsym(l, name) : NULL;
}
static void call_fail(void *f, long long at, int code, int on) { ((void (*)(long long, int, int))f)(at, code, on); }
static long long call_calls(void *f) { return ((long long (*)(void))f)(); }
static int call_live(void *f) { return ((int (*)(void))f)(); }
static void call_room(void *f, size_t n) { ((void (*)(size_t))f)(n); }
*/
import "C"

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// Variable is the environment variable that names the driver's library.
const Variable = "SCU_CUDA_DRIVER"

// Exec builds the fake driver from the sources in folder (kernels/cuda) and runs this program again with
// it; a program that runs with it already goes on. It needs g++.
func Exec(folder string) error {
	if os.Getenv(Variable) != "" {
		return nil
	}
	library, err := build(folder)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), Variable+"="+library))
}

// build compiles what has changed into the user's cache and returns the library's path.
func build(folder string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return "", err
	}
	// Each working tree has its own.
	dir := filepath.Join(cache, "scu-fakecuda", fmt.Sprintf("%x", sha256.Sum256([]byte(folder)))[:16])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	headers, err := filepath.Glob(filepath.Join(folder, "*.*h"))
	if err != nil {
		return "", err
	}
	sources, err := filepath.Glob(filepath.Join(folder, "*.cu"))
	if err != nil {
		return "", err
	}
	here := filepath.Join(folder, "fakecuda", "source")
	kernels, driver := filepath.Join(here, "kernels.cpp"), filepath.Join(here, "driver.cpp")
	made := map[string]bool{}
	for _, source := range sources {
		library := filepath.Join(dir, strings.TrimSuffix(filepath.Base(source), ".cu")+".kernels.so")
		made[library] = true
		if newer(library, append(headers, source, kernels)) {
			continue
		}
		// Each for itself: names that two sources have in common are two things.
		if err := compile(library, "-fno-gnu-unique", "-Wl,-Bsymbolic", "-DEMULATE", "-I"+folder, "-include", source, kernels); err != nil {
			return "", err
		}
	}
	old, _ := filepath.Glob(filepath.Join(dir, "*.kernels.so"))
	for _, library := range old {
		if !made[library] {
			os.Remove(library)
		}
	}
	library := filepath.Join(dir, "libcuda.so")
	if newer(library, []string{driver}) {
		return library, nil
	}
	return library, compile(library, driver, "-ldl")
}

func compile(library string, args ...string) error {
	// A program that has the old library open keeps it.
	made := library + ".new"
	args = append([]string{"-std=c++20", "-O2", "-fno-strict-aliasing", "-fPIC", "-shared", "-ffp-contract=off", "-w", "-o", made}, args...)
	out, err := exec.Command("g++", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("g++ %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return os.Rename(made, library)
}

// newer reports whether a file is there and none of the others is newer.
func newer(file string, others []string) bool {
	at, err := os.Stat(file)
	if err != nil {
		return false
	}
	for _, o := range others {
		if i, err := os.Stat(o); err != nil || i.ModTime().After(at.ModTime()) {
			return false
		}
	}
	return true
}

func function(name string) unsafe.Pointer {
	library, n := C.CString(os.Getenv(Variable)), C.CString(name)
	defer C.free(unsafe.Pointer(library))
	defer C.free(unsafe.Pointer(n))
	f := C.find(library, n)
	if f == nil {
		panic("fakecuda: " + name + " isn't there: is Exec called first?")
	}
	runtime.KeepAlive(f)
	return f
}

// Fail makes the call number at of those that follow (from 1; 0: none) return code, and all after it if
// lost is set, and counts calls anew.
func Fail(at, code int, lost bool) {
	on := C.int(0)
	if lost {
		on = 1
	}
	if at == 0 {
		at = -1
	}
	C.call_fail(function("fake_fail"), C.longlong(at), C.int(code), on)
}

// Calls counts the driver's calls since Fail.
func Calls() int { return int(C.call_calls(function("fake_calls"))) }

// Live counts what the driver has given and not got back: memory, contexts, streams, events, modules.
func Live() int { return int(C.call_live(function("fake_live"))) }

// Room sets how much memory the device has left.
func Room(bytes int) { C.call_room(function("fake_room"), C.size_t(bytes)) }
