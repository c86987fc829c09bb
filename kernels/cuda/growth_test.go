//go:build cuda && cgo && linux

package cuda

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/shannon-control/scu/kernels/cuda/cublaslt"
	"github.com/shannon-control/scu/kernels/cuda/driver"
	"github.com/shannon-control/scu/kernels/cuda/nvml"
)

// What a process does again and again, job after job, takes no more of the host's memory each time: the driver keeps
// things of its own, in memory that Go doesn't count.
func TestNothingGrows(t *testing.T) {
	if !realGPU {
		t.Skip("it is the driver that may keep something")
	}
	const warm, times, most = 20, 100, 16 << 10 // bytes a time
	ctx, err := driver.Open(0)                  // as the one that tells of free memory is, while a process lives
	must(t, err)
	defer ctx.Close()
	for _, c := range []struct {
		name string
		once func() error
	}{
		{"context", func() error {
			c, err := driver.Open(0)
			if err != nil {
				return err
			}
			return c.Close()
		}},
		{"memory", func() error {
			var err error
			for i := range 100 {
				p, e := ctx.Alloc(1 << (10 + i%12))
				err = errors.Join(err, e, ctx.Free(p))
			}
			return errors.Join(err, ctx.Wait())
		}},
		{"pinned", func() error {
			b, err := ctx.Pin(8 << 20)
			if err != nil {
				return err
			}
			clear(b)
			return ctx.Unpin(b)
		}},
		{"events", func() error {
			e, err := ctx.MakeEvent()
			return errors.Join(err, ctx.Record(e), ctx.WaitFor(e), ctx.DestroyEvent(e))
		}},
		{"library", func() error {
			h, err := cublaslt.Open(ctx, "")
			if err != nil {
				return err
			}
			return h.Close()
		}},
		{"figures", func() error {
			_, err := nvml.Cards()
			GPU{}.Available()
			return err
		}},
		{"record", func() error { return recorded(ctx) }},
		{"device", work},
	} {
		t.Run(c.name, func(t *testing.T) {
			for range warm {
				must(t, c.once())
			}
			before := resident(t)
			for range times {
				must(t, c.once())
			}
			after := resident(t)
			t.Logf("%.1f KiB a time: %s", float64(after.total-before.total)/times/1024, after.since(before))
			if grew := (after.total - before.total) / times; grew > most {
				t.Errorf("%d bytes a time", grew)
			}
		})
	}
}

// recorded records a thousand clearings, plays and drops them.
func recorded(ctx *driver.Context) error {
	p, err := ctx.Alloc(1 << 20)
	if err != nil {
		return err
	}
	if err := ctx.BeginRecord(); err != nil {
		return err
	}
	for range 1000 {
		err = errors.Join(err, ctx.Zero(p, 1<<20))
	}
	r, e := ctx.EndRecord()
	return errors.Join(err, e, ctx.Play(r), ctx.Wait(), ctx.Drop(r), ctx.Free(p))
}

// memoryMap is the process's memory that is in RAM, in bytes, in all and by what it is for.
type memoryMap struct {
	total int64
	parts map[string]int64
}

func (m memoryMap) since(before memoryMap) string {
	var all []string
	for name, n := range m.parts {
		if d := n - before.parts[name]; d != 0 {
			all = append(all, fmt.Sprintf("%s %+d KiB", name, d>>10))
		}
	}
	return strings.Join(all, ", ")
}

// resident reads it from the kernel, once Go has given back what it can.
func resident(t *testing.T) memoryMap {
	t.Helper()
	runtime.GC()
	f, err := os.Open("/proc/self/smaps")
	must(t, err)
	defer f.Close()
	m := memoryMap{parts: map[string]int64{}}
	name := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) > 0 && !strings.HasSuffix(fields[0], ":"):
			name = "anonymous"
			if len(fields) > 5 {
				name = fields[5]
			}
		case fields[0] == "Rss:":
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			must(t, err)
			m.parts[name] += kb << 10
			m.total += kb << 10
		}
	}
	return m
}
