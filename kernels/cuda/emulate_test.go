//go:build linux

package cuda

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/shannon-control/scu/kernels"
)

// The kernels' arithmetic and layouts are checked here without a GPU: each source is compiled
// for the CPU, with emulate.h in place of the GPU's instructions, and run with the very calls
// that a GPU would get.

// base is where the emulated memory lies; nothing else is there in a Linux process.
const base = 0x2000_0000_0000

// gpu is an emulated GPU: its memory, with NaN wherever nothing was put, and the calls to come.
type gpu struct {
	t      *testing.T
	memory []byte
	rng    *rand.Rand
}

func newGPU(t *testing.T) *gpu { return &gpu{t: t, rng: rand.New(rand.NewPCG(1, 2))} }

// alloc returns the address of n bytes, every one of them 0xff, aligned as cuMemAlloc does.
func (g *gpu) alloc(n int) uint64 {
	at := len(g.memory)
	g.memory = append(g.memory, bytes.Repeat([]byte{0xff}, (n+255)/256*256+256)...) // with a gap, against small overruns
	return base + uint64(at)
}

// put stores values as elements of a type and returns their address and what they are once
// rounded to it.
func (g *gpu) put(dtype kernels.DType, values []float64) (uint64, []float64) {
	at := g.alloc(dtype.Bytes(len(values)))
	b, rounded := g.memory[at-base:], make([]float64, len(values))
	for i, v := range values {
		switch dtype {
		case kernels.BF16:
			binary.LittleEndian.PutUint16(b[2*i:], kernels.ToBF16(float32(v)))
		case kernels.F16:
			binary.LittleEndian.PutUint16(b[2*i:], kernels.ToF16(float32(v)))
		case kernels.F32:
			binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(float32(v)))
		case kernels.F64:
			binary.LittleEndian.PutUint64(b[8*i:], math.Float64bits(v))
		case kernels.I32:
			binary.LittleEndian.PutUint32(b[4*i:], uint32(int32(v)))
		}
	}
	copy(rounded, g.get(dtype, at, len(values)))
	return at, rounded
}

// get reads n elements.
func (g *gpu) get(dtype kernels.DType, at uint64, n int) []float64 {
	x := make([]float64, n)
	b := g.memory[at-base:]
	for i := range x {
		switch dtype {
		case kernels.BF16:
			x[i] = float64(kernels.FromBF16(binary.LittleEndian.Uint16(b[2*i:])))
		case kernels.F16:
			x[i] = float64(kernels.FromF16(binary.LittleEndian.Uint16(b[2*i:])))
		case kernels.F32:
			x[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])))
		case kernels.F64:
			x[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		case kernels.I32:
			x[i] = float64(int32(binary.LittleEndian.Uint32(b[4*i:])))
		}
	}
	return x
}

// normal returns n random numbers.
func (g *gpu) normal(n int) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = g.rng.NormFloat64()
	}
	return x
}

// run makes the calls, in order. All of them are in one source.
func (g *gpu) run(calls ...call) {
	g.t.Helper()
	for len(calls) > 0 { // runs of calls into one source
		source, _, _ := strings.Cut(calls[0].kernel, ".")
		n := 1
		for n < len(calls) && strings.HasPrefix(calls[n].kernel, source+".") {
			n++
		}
		g.runSource(source, calls[:n])
		calls = calls[n:]
	}
}

func (g *gpu) runSource(source string, calls []call) {
	g.t.Helper()
	var in bytes.Buffer
	u32 := func(x ...int) {
		for _, x := range x {
			binary.Write(&in, binary.LittleEndian, uint32(x))
		}
	}
	binary.Write(&in, binary.LittleEndian, []uint64{base, uint64(len(g.memory))})
	in.Write(g.memory)
	for _, c := range calls {
		_, name, _ := strings.Cut(c.kernel, ".")
		args := bytes.Clone(c.args)
		for _, m := range c.maps {
			words := append(append([]uint64{m.address}, m.dims[:]...), m.strides[:]...)
			for _, b := range m.box {
				words = append(words, uint64(b))
			}
			binary.Encode(args[m.at:], binary.LittleEndian, words)
		}
		u32(len(name))
		in.WriteString(name)
		u32(c.grid[0], c.grid[1], c.grid[2], c.threads, c.shared, max(c.cluster, 1), len(args))
		in.Write(args)
	}
	var out, stderr bytes.Buffer
	cmd := exec.Command(emulator(g.t, source))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &stderr
	if err := cmd.Run(); err != nil {
		g.t.Fatalf("%s: %v\n%s", calls[0].kernel, err, stderr.String())
	}
	if _, err := io.ReadFull(&out, g.memory); err != nil {
		g.t.Fatal(err)
	}
}

// near checks that got is within a relative error of want, by norm, and has no NaN.
func near(t *testing.T, what string, got, want []float64, limit float64) {
	t.Helper()
	var d, n float64
	for i := range want {
		d += (got[i] - want[i]) * (got[i] - want[i])
		n += want[i] * want[i]
	}
	if e := math.Sqrt(d / max(n, 1e-30)); !(e <= limit) {
		t.Errorf("%s: error %.2g, want at most %.2g", what, e, limit)
	}
}

// emulators compiles each source once for all tests.
var emulators struct {
	sync.Mutex
	dir  string
	done map[string]func() (string, error)
}

// emulator returns the program that runs a source's kernels on the CPU.
func emulator(t *testing.T, source string) string {
	t.Helper()
	emulators.Lock()
	build, ok := emulators.done[source]
	if !ok {
		target := filepath.Join(emulators.dir, source)
		build = sync.OnceValues(func() (string, error) {
			out, err := exec.Command("g++", "-O1", "-std=c++20", "-w", "-Wno-psabi", "-DEMULATE", "-I.", "-include", source+".cu",
				"emulator/main.cpp", "-rdynamic", "-ldl", "-o", target).CombinedOutput()
			return string(out), err
		})
		emulators.done[source] = build
	}
	emulators.Unlock()
	if out, err := build(); err != nil {
		t.Fatalf("compiling %s.cu for the CPU (g++ is needed): %v\n%s", source, err, out)
	}
	return filepath.Join(emulators.dir, source)
}
