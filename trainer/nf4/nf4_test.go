package nf4_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// testdata/nf4.safetensors and what SCU_NF4 names: what bitsandbytes made of
// random matrices.
func TestQuantizeGivesBitsandbytesBytes(t *testing.T) {
	paths := []string{"testdata/nf4.safetensors"}
	if more := os.Getenv("SCU_NF4"); more != "" {
		paths = append(paths, more)
	}
	for _, path := range paths {
		f := open(t, path)
		for _, name := range named(f, ".packed") {
			m, err := nf4.Quantize(get(t, f, name+".weight"))
			must(t, err)
			same(t, name+": packed", m.Packed, get(t, f, name+".packed").Data)
			same(t, name+": scales' codes", m.Scales.Codes, get(t, f, name+".absmax_q").Data)
			same(t, name+": offset", []float32{m.Scales.Offset}, floats(t, f, name+".offset"))
			same(t, name+": scales' absmax", m.Scales.Absmax, floats(t, f, name+".state2_absmax"))
			same(t, name+": map", m.Scales.Map[:], floats(t, f, "state2_code"))
			same(t, name+": weights", widen(m.Quantized()), floats(t, f, name+".dequantized"))
		}
	}
}

// The same where rounding, zeros, subnormals, other types and odd sizes matter.
func TestQuantizeAtTheEdges(t *testing.T) {
	f := open(t, "testdata/edges.safetensors")
	for _, name := range named(f, ".source") {
		source := get(t, f, name+".source")
		m, err := nf4.Quantize(source)
		must(t, err)
		same(t, name+": packed", m.Packed, get(t, f, name+".weight").Data)
		same(t, name+": scales' codes", m.Scales.Codes, get(t, f, name+".weight.absmax").Data)
		same(t, name+": scales' absmax", m.Scales.Absmax, floats(t, f, name+".weight.nested_absmax"))
		state, err := nf4.ParseState(get(t, f, name+".weight.quant_state.bitsandbytes__nf4").Data)
		must(t, err)
		same(t, name+": offset", []float64{float64(m.Scales.Offset)}, []float64{*state.NestedOffset})
		sameRounded(t, name, m.Quantized(), get(t, f, name+".dequantized"))
	}
}

// The matrix that generate.py's large makes.
func TestQuantizeLarge(t *testing.T) {
	var want struct {
		N                             int
		Packed, Codes, Absmax, Offset string
	}
	text, err := os.ReadFile("testdata/large.json")
	must(t, err)
	must(t, json.Unmarshal(text, &want))
	w := make([]float32, want.N)
	for i := range w {
		h := uint32(uint64(i)*2654435761 + 12345)
		b := uint32(i/64*40503+7) & 0xffff
		w[i] = (float32(h>>8)/(1<<24) - 0.5) * (float32(b)/65536 + 0.25)
	}
	m, err := nf4.Quantize(safetensors.FromFloat32("large", []int{want.N}, w))
	must(t, err)
	digest := func(v any) string {
		var b bytes.Buffer
		must(t, binary.Write(&b, binary.LittleEndian, v))
		sum := sha256.Sum256(b.Bytes())
		return hex.EncodeToString(sum[:])
	}
	for name, pair := range map[string][2]string{
		"packed": {digest(m.Packed), want.Packed}, "codes": {digest(m.Scales.Codes), want.Codes},
		"absmax": {digest(m.Scales.Absmax), want.Absmax}, "offset": {digest(m.Scales.Offset), want.Offset},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: digest %s, bitsandbytes' %s", name, pair[0], pair[1])
		}
	}
}

func TestQuantizeRefusesWhatIsNotFinite(t *testing.T) {
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, at := range []int{0, 63, 64, 69} {
			w := make([]float32, 70)
			w[at] = float32(bad)
			_, err := nf4.Quantize(safetensors.FromFloat32("layer.weight", []int{70}, w))
			refused(t, err, "tensor layer.weight has a weight that is not a finite number")
		}
	}
	_, err := nf4.Quantize(safetensors.Tensor{Name: "layer.weight", DType: safetensors.I8, Shape: []int{2}, Data: []byte{1, 2}})
	refused(t, err, "not a floating-point type")
	_, err = nf4.Quantize(safetensors.Tensor{Name: "layer.weight", DType: safetensors.F32, Shape: []int{1}, Data: []byte{1, 2}})
	refused(t, err, "no whole number of F32")
}

func BenchmarkQuantize(b *testing.B) {
	w := make([]float32, 1<<22)
	for i := range w {
		w[i] = float32(math.Sin(float64(i) * 12.9898))
	}
	t := safetensors.FromFloat32("w", []int{len(w)}, w)
	b.SetBytes(int64(4 * len(w)))
	for b.Loop() {
		if _, err := nf4.Quantize(t); err != nil {
			b.Fatal(err)
		}
	}
}

func widen(q kernels.Quantized) []float32 {
	out := make([]float32, q.N)
	for i := range out {
		out[i] = q.At(i)
	}
	return out
}

// sameRounded compares weights with those that bitsandbytes rounded to the type
// they had before.
func sameRounded(t *testing.T, name string, got kernels.Quantized, want safetensors.Tensor) {
	t.Helper()
	rounded, err := safetensors.FromFloat32As(want.DType, name, want.Shape, widen(got))
	must(t, err)
	same(t, name+": weights", rounded.Data, want.Data)
}

func same[E comparable](t *testing.T, name string, got, want []E) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d values, bitsandbytes has %d", name, len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: number %d is %v, bitsandbytes' is %v", name, i, got[i], want[i])
			return
		}
	}
}

func open(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// named lists the names before a suffix.
func named(f *safetensors.File, suffix string) (out []string) {
	for _, name := range f.Names() {
		if name, ok := strings.CutSuffix(name, suffix); ok {
			out = append(out, name)
		}
	}
	return out
}

func get(t *testing.T, f *safetensors.File, name string) safetensors.Tensor {
	t.Helper()
	tensor, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	return tensor
}

func floats(t *testing.T, f *safetensors.File, name string) []float32 {
	t.Helper()
	v, err := get(t, f, name).Float32()
	must(t, err)
	return v
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v; want one with %q", err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
