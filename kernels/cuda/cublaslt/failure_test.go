//go:build cuda && cgo && linux

package cublaslt

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cuda/driver"
	"github.com/shannon-control/scu/kernels/cuda/fakecuda"
)

func TestMain(m *testing.M) {
	if err := fakecuda.Exec(".."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// A product may be the first call that a lost device fails, by a status of the library's that doesn't tell.
func TestProductOnLostDevice(t *testing.T) {
	ctx, err := driver.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	h := &Handle{ctx: ctx}
	const internal, lost = 14, 719
	if err := h.failure(Shape{M: 1, N: 2, K: 3}, internal); err == nil || errors.Is(err, kernels.ErrLost) {
		t.Errorf("a device that works: %v", err)
	}
	fakecuda.Fail(1, lost, true)
	if err := h.failure(Shape{M: 1, N: 2, K: 3}, internal); !errors.Is(err, kernels.ErrLost) {
		t.Errorf("a lost device: %v", err)
	}
	fakecuda.Fail(0, 0, false)
	if err := ctx.Close(); err != nil {
		t.Error(err)
	}
}

// A library that could be used but for want of memory, or for a lost device, isn't one that is not there.
func TestNotMade(t *testing.T) {
	ctx, err := driver.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	h := &Handle{ctx: ctx}
	const notInitialized, allocFailed, lost = 1, 3, 719
	if err := h.notMade(allocFailed); !errors.Is(err, kernels.ErrMemory) {
		t.Errorf("too little memory: %v", err)
	}
	if err := h.notMade(notInitialized); err == nil || errors.As(err, new(driver.Error)) {
		t.Errorf("a library for other drivers: %v", err)
	}
	fakecuda.Fail(1, lost, true)
	if err := h.notMade(notInitialized); !errors.Is(err, kernels.ErrLost) || !errors.As(err, new(driver.Error)) {
		t.Errorf("a lost device: %v", err)
	}
	fakecuda.Fail(0, 0, false)
	if err := ctx.Close(); err != nil {
		t.Error(err)
	}
}
