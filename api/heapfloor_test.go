package api

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// The heap grows by the floor and more before it is collected again.
func TestHeapFloor(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	const floor = 256 << 20
	r := start(t, func(o *Options) { o.HeapFloor = floor })
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.NextGC < 2*floor {
		t.Errorf("it is collected at %d MiB, want at least %d", m.NextGC>>20, 2*floor>>20)
	}
	runtime.KeepAlive(r.server)
}
