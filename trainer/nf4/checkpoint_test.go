package nf4_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// What bitsandbytes saved, with its scales quantised or not, in blocks of 64 and
// more, of whole and odd shapes.
func TestReadGivesBitsandbytesWeights(t *testing.T) {
	f := open(t, "testdata/edges.safetensors")
	for _, name := range named(f, ".dequantized") {
		want := get(t, f, name+".dequantized")
		weight := get(t, f, name+".weight")
		if !nf4.IsStored(f.Tensor, weight.Name) || nf4.IsStored(f.Tensor, want.Name) {
			t.Errorf("%s: IsStored is wrong", name)
		}
		s, err := nf4.Open(f.Tensor, weight, want.Shape[0], want.Shape[1])
		must(t, err)
		q, err := s.Read()
		must(t, err)
		sameRounded(t, name, q, want)
		if &q.Packed[0] != &weight.Data[0] {
			t.Errorf("%s: the codes were copied", name)
		}
	}
}

// checkpoint is a quantised weight w of 3 x 5 and what belongs to it.
type checkpoint map[string]safetensors.Tensor

func (c checkpoint) find(name string) (safetensors.Tensor, bool) {
	t, ok := c[name]
	return t, ok
}

func (c checkpoint) set(name string, dtype safetensors.DType, data []byte, shape ...int) {
	c[name] = safetensors.Tensor{Name: name, DType: dtype, Shape: shape, Data: data}
}

func (c checkpoint) describe(text string) {
	c.set(description, safetensors.U8, []byte(text), len(text))
}

const (
	description = "w.quant_state.bitsandbytes__nf4"
	nested      = `{"quant_type":"nf4","blocksize":64,"dtype":"float32","shape":[3,5],"nested_blocksize":256,"nested_dtype":"float32","nested_offset":0.5}`
)

func newCheckpoint() checkpoint {
	c := checkpoint{}
	c.set("w", safetensors.U8, make([]byte, 8), 8, 1)
	c.set("w.absmax", safetensors.U8, []byte{7}, 1)
	c["w.quant_map"] = safetensors.FromFloat32("w.quant_map", []int{16}, kernels.NF4Levels[:])
	c["w.nested_quant_map"] = safetensors.FromFloat32("w.nested_quant_map", []int{256}, make([]float32, 256))
	c["w.nested_absmax"] = safetensors.FromFloat32("w.nested_absmax", []int{1}, []float32{2})
	c.describe(nested)
	return c
}

func (c checkpoint) read() (kernels.Quantized, error) {
	s, err := nf4.Open(c.find, c["w"], 3, 5)
	if err != nil {
		return kernels.Quantized{}, err
	}
	return s.Read()
}

func TestOpenRefuses(t *testing.T) {
	q, err := newCheckpoint().read()
	must(t, err)
	same(t, "scales", q.Absmax, []float32{0.5})

	bytesOf := func(n int) []byte { return make([]byte, n) }
	cases := map[string]struct {
		change func(c checkpoint)
		want   string
	}{
		"fp4": {func(c checkpoint) {
			c.set("w.quant_state.bitsandbytes__fp4", safetensors.U8, nil, 0)
		}, "tensor w is stored in bitsandbytes' fp4"},
		"no description":       {func(c checkpoint) { delete(c, description) }, "no tensor " + description},
		"description of I8":    {func(c checkpoint) { c.set(description, safetensors.I8, []byte(nested), len(nested)) }, "has type I8"},
		"description of 2 dim": {func(c checkpoint) { c.set(description, safetensors.U8, []byte(nested), 1, len(nested)) }, "in one dimension"},
		"other shape":          {func(c checkpoint) { c.describe(strings.Replace(nested, "[3,5]", "[5,3]", 1)) }, "says shape [5 3]; config.json says [3 5]"},
		"no shape":             {func(c checkpoint) { c.describe(strings.Replace(nested, "[3,5]", "null", 1)) }, "says shape []"},
		"short codes":          {func(c checkpoint) { c.set("w", safetensors.U8, bytesOf(7), 7, 1) }, "tensor w has 7 bytes in shape [7 1]"},
		"long codes":           {func(c checkpoint) { c.set("w", safetensors.U8, bytesOf(9), 9, 1) }, "tensor w has 9 bytes"},
		"codes in a row":       {func(c checkpoint) { c.set("w", safetensors.U8, bytesOf(8), 1, 8) }, "in one column"},
		"no levels":            {func(c checkpoint) { delete(c, "w.quant_map") }, "no tensor w.quant_map"},
		"other levels": {func(c checkpoint) {
			c["w.quant_map"] = safetensors.FromFloat32("w.quant_map", []int{16}, make([]float32, 16))
		}, "w.quant_map holds other values than NF4's"},
		"no scales":         {func(c checkpoint) { delete(c, "w.absmax") }, "no tensor w.absmax"},
		"too many scales":   {func(c checkpoint) { c.set("w.absmax", safetensors.U8, bytesOf(2), 2) }, "w.absmax has shape [2]"},
		"scales in F32":     {func(c checkpoint) { c.set("w.absmax", safetensors.F32, bytesOf(4), 1) }, "w.absmax has type F32"},
		"plain scales in 8": {func(c checkpoint) { c.describe(plain) }, "w.absmax has type U8"},
		"no map":            {func(c checkpoint) { delete(c, "w.nested_quant_map") }, "no tensor w.nested_quant_map"},
		"short map": {func(c checkpoint) {
			c.set("w.nested_quant_map", safetensors.F32, bytesOf(4*255), 255)
		}, "w.nested_quant_map has shape [255]"},
		"no absmax of scales": {func(c checkpoint) { delete(c, "w.nested_absmax") }, "no tensor w.nested_absmax"},
		"absmax in F64":       {func(c checkpoint) { c.set("w.nested_absmax", safetensors.F64, bytesOf(8), 1) }, "w.nested_absmax has type F64"},
		"bytes and shape":     {func(c checkpoint) { c.set("w.nested_absmax", safetensors.F32, bytesOf(8), 1) }, "8 bytes"},
	}
	for name, c := range cases {
		ck := newCheckpoint()
		c.change(ck)
		_, err := ck.read()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v; want one with %q", name, err, c.want)
		}
	}
}

const plain = `{"quant_type":"nf4","blocksize":128,"dtype":"bfloat16","shape":[3,5]}`

func TestParseState(t *testing.T) {
	s, err := nf4.ParseState([]byte(plain))
	must(t, err)
	if s.BlockSize != 128 || s.DType != "bfloat16" || !slices.Equal(s.Shape, []int{3, 5}) || s.NestedOffset != nil {
		t.Errorf("parsed as %+v", s)
	}
	cases := []struct {
		old, new, want string
		code           scu.Code
	}{
		{`"nf4"`, `"fp4"`, `quant_type is "fp4"`, scu.CodeUnsupported},
		{`"quant_type":"nf4",`, ``, `quant_type is ""`, scu.CodeUnsupported},
		{`:64`, `:32`, `blocksize 32 is not supported`, scu.CodeUnsupported},
		{`:64`, `:100`, `blocksize is 100`, scu.CodeInvalid},
		{`:64`, `:-64`, `blocksize is -64`, scu.CodeInvalid},
		{`:64`, `:8192`, `blocksize is 8192`, scu.CodeInvalid},
		{`:64`, `:"64"`, `blocksize`, scu.CodeInvalid},
		{`:256`, `:128`, `nested_blocksize 128 is not supported`, scu.CodeUnsupported},
		{`"dtype":"float32"`, `"dtype":"int8"`, `dtype is "int8"`, scu.CodeInvalid},
		{`"nested_dtype":"float32"`, `"nested_dtype":"float16"`, `nested_dtype "float16" is not supported`, scu.CodeUnsupported},
		{`,"nested_offset":0.5`, ``, `nested_offset is missing`, scu.CodeInvalid},
		{`0.5`, `1e39`, `nested_offset 1e+39`, scu.CodeInvalid},
		{`0.5`, `Infinity`, `invalid character 'I'`, scu.CodeInvalid},
		{`0.5`, `0.5,"rotation":1`, `"rotation"`, scu.CodeInvalid},
		{`0.5}`, `0.5}{}`, `something follows`, scu.CodeInvalid},
		{`0.5}`, `0.5`, `EOF`, scu.CodeInvalid},
		{`0.5}`, `0.5` + strings.Repeat(" ", 1<<16) + `}`, `too many`, scu.CodeInvalid},
	}
	for _, c := range cases {
		_, err := nf4.ParseState([]byte(strings.Replace(nested, c.old, c.new, 1)))
		refused(t, err, c.want)
		if scu.CodeOf(err) != c.code {
			t.Errorf("%s instead of %s: code %s, want %s", c.new, c.old, scu.CodeOf(err), c.code)
		}
	}
}

func FuzzParseState(f *testing.F) {
	f.Add([]byte(nested))
	f.Add([]byte(plain))
	f.Add([]byte(`{"quant_type":"nf4","blocksize":4096,"dtype":"float16","shape":[-1,9223372036854775807]}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := nf4.ParseState(text)
		if err != nil {
			return
		}
		if s.QuantType != "nf4" || s.BlockSize < kernels.NF4Block || s.BlockSize%kernels.NF4Block != 0 {
			t.Errorf("%q was taken as %+v", text, s)
		}
		again, err := json.Marshal(s)
		must(t, err)
		if _, err := nf4.ParseState(again); err != nil {
			t.Errorf("%q was taken, and %s was not: %v", text, again, err)
		}
	})
}

// Whatever lies beside a weight, it is read or refused.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(nested), []byte{1}, []byte{0, 0, 0, 64}, uint8(0), 1)
	f.Add([]byte(plain), []byte{0, 0, 0, 64}, []byte{}, uint8(1), 1)
	f.Fuzz(func(t *testing.T, description, absmax, nestedAbsmax []byte, types uint8, length int) {
		c := newCheckpoint()
		c.describe(string(description))
		kinds := []safetensors.DType{safetensors.U8, safetensors.F32, safetensors.BF16, "?"}
		c.set("w.absmax", kinds[types&3], absmax, length)
		c.set("w.nested_absmax", kinds[types>>2&3], nestedAbsmax, len(nestedAbsmax)/4)
		q, err := c.read()
		if err != nil {
			return
		}
		if q.N != 15 || len(q.Packed) != 8 || len(q.Absmax) != 1 {
			t.Errorf("read as %d weights of %d bytes with %d scales", q.N, len(q.Packed), len(q.Absmax))
		}
	})
}

// headers finds what headers alone say.
func headers(find nf4.Lookup) nf4.Lookup {
	return func(name string) (safetensors.Tensor, bool) {
		t, ok := find(name)
		t.Data = nil
		return t, ok
	}
}

// What bitsandbytes saved is known by its headers, and what can't be read is
// refused by them.
func TestOpenHeaders(t *testing.T) {
	f := open(t, "testdata/edges.safetensors")
	for _, name := range named(f, ".dequantized") {
		find := headers(f.Tensor)
		weight, _ := find(name + ".weight")
		shape := get(t, f, name+".dequantized").Shape
		_, err := nf4.Open(find, weight, shape[0], shape[1])
		must(t, err)
		if _, err := nf4.Open(find, weight, shape[0]+8, shape[1]); err == nil {
			t.Errorf("%s: codes of other weights pass", name)
		}
	}
	for name, c := range map[string]struct {
		change func(c checkpoint)
		want   string
		code   scu.Code
	}{
		"fp4":                   {func(c checkpoint) { c.set("w.quant_state.bitsandbytes__fp4", safetensors.U8, nil, 0) }, "bitsandbytes' fp4", scu.CodeUnsupported},
		"blocks of 8":           {func(c checkpoint) { c.set("w.absmax", safetensors.U8, nil, 2) }, "2 scales are of blocks of fewer than 64", scu.CodeUnsupported},
		"no scale":              {func(c checkpoint) { c.set("w.absmax", safetensors.U8, nil, 0) }, "want 1 elements", scu.CodeInvalid},
		"no scales":             {func(c checkpoint) { delete(c, "w.absmax") }, "no tensor w.absmax", scu.CodeInvalid},
		"scales in two columns": {func(c checkpoint) { c.set("w.absmax", safetensors.U8, nil, 1, 1) }, "in one dimension", scu.CodeInvalid},
		"no map of scales":      {func(c checkpoint) { delete(c, "w.nested_quant_map") }, "no tensor w.nested_quant_map", scu.CodeInvalid},
		"short codes":           {func(c checkpoint) { c.set("w", safetensors.U8, nil, 7, 1) }, "tensor w has 7 bytes in shape [7 1]", scu.CodeInvalid},
	} {
		ck := newCheckpoint()
		c.change(ck)
		weight, _ := headers(ck.find)("w")
		_, err := nf4.Open(headers(ck.find), weight, 3, 5)
		if err == nil || !strings.Contains(err.Error(), c.want) || scu.CodeOf(err) != c.code {
			t.Errorf("%s: error %v; want %s with %q", name, err, c.code, c.want)
		}
	}
}
