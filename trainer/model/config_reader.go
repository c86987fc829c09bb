package model

import (
	"encoding/json"
	"fmt"
	"sort"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
)

// configReader reads fields of config.json, remembers which, and keeps the first
// error.
type configReader struct {
	in    string // prefix of raw's fields, such as "quantization_config."; "" at the top
	raw   map[string]any
	read  map[string]bool
	notes []string
	err   error
}

func (c *configReader) fail(code scu.Code, format string, args ...any) {
	if c.err == nil {
		c.err = scu.Errorf(code, "config.json: %s%s", c.in, fmt.Sprintf(format, args...))
	}
}

// get returns a field under whichever of its names is present and not null. Names that
// disagree are refused: readers differ in which one they prefer.
func (c *configReader) get(names ...string) (value any, name string) {
	for _, n := range names {
		c.read[n] = true
		switch v := c.raw[n]; {
		case v == nil:
		case value == nil:
			value, name = v, n
		case fmt.Sprint(v) != fmt.Sprint(value):
			c.fail(scu.CodeInvalid, "%s is %v and %s is %v; they mean the same", name, value, n, v)
		}
	}
	if value == nil {
		name = names[0]
	}
	return value, name
}

// null reports whether a field is present and null, which can differ from absent.
func (c *configReader) null(name string) bool {
	v, there := c.raw[name]
	return there && v == nil
}

// note records which part of config.json is not applied, and why. The text is cut, as
// it may quote a value of any length.
func (c *configReader) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf("config.json's %s%.300s", c.in, fmt.Sprintf(format, args...)))
}

// object reads a field that holds an object.
func (c *configReader) object(name string) map[string]any {
	v, _ := c.get(name)
	if v == nil {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		c.fail(scu.CodeInvalid, "%s is not an object", name)
	}
	return m
}

// within reads the fields of an object that config.json holds under a name.
func (c *configReader) within(name string, raw map[string]any, read func(*configReader)) {
	s := &configReader{in: c.in + name + ".", raw: raw, read: map[string]bool{}, notes: c.notes, err: c.err}
	read(s)
	c.notes, c.err = s.notes, s.err
}

func (c *configReader) str(name, def string) string {
	v, _ := c.get(name)
	if v == nil {
		return def
	}
	s, ok := v.(string)
	if !ok {
		c.fail(scu.CodeInvalid, "%s is not a string", name)
	}
	return s
}

// maxDim bounds every size in config.json, so that the product of two fits an int.
const maxDim = 1 << 24

// maxHeadDim bounds the elements of a head. Memory grows with it that no tensor in the
// file accounts for, such as RoPE tables. Real heads have at most 256.
const maxHeadDim = 1024

// headDim checks the elements of a head.
func (c *configReader) headDim(n int) {
	if n > maxHeadDim {
		c.fail(scu.CodeUnsupported, "a head has %d elements; at most %d are supported", n, maxHeadDim)
	}
}

// dim reads a size of at least 1; def < 0 makes it required.
func (c *configReader) dim(def int, names ...string) int {
	v, name := c.get(names...)
	if v == nil {
		if def < 0 {
			c.fail(scu.CodeInvalid, "%s is missing", name)
			return 1
		}
		return def
	}
	n, ok := v.(json.Number)
	i, err := n.Int64()
	if !ok || err != nil || i < 1 || i > maxDim {
		c.fail(scu.CodeInvalid, "%s is %v; want a whole number from 1 to %d", name, v, maxDim)
		return 1
	}
	return int(i)
}

func (c *configReader) num(def float64, names ...string) float64 {
	v, name := c.get(names...)
	if v == nil {
		return def
	}
	n, ok := v.(json.Number)
	f, err := n.Float64()
	if !ok || err != nil {
		c.fail(scu.CodeInvalid, "%s is %v; want a number", name, v)
		return def
	}
	return f
}

func (c *configReader) flag(def bool, names ...string) bool {
	v, name := c.get(names...)
	if v == nil {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		c.fail(scu.CodeInvalid, "%s is %v; want true or false", name, v)
	}
	return b
}

// eps reads a normalisation's epsilon.
func (c *configReader) eps(def float64, names ...string) float32 {
	e := c.num(def, names...)
	if e < 0 || e > 1 {
		c.fail(scu.CodeInvalid, "%s is %v; want 0 to 1", names[0], e)
	}
	return float32(e)
}

// refuse refuses a model for which a flag is true: what it stands for isn't implemented.
func (c *configReader) refuse(flag string) {
	if c.flag(false, flag) {
		c.fail(scu.CodeUnsupported, "%s = true is not supported", flag)
	}
}

// noDropout reads dropout rates of the base. They aren't applied: the frozen base runs
// as in inference, and lora.dropout regularises the adapter.
func (c *configReader) noDropout(names ...string) {
	for _, n := range names {
		if p := c.num(0, n); p != 0 {
			c.note("%s %v is not applied: the frozen base runs without dropout; lora.dropout is the adapter's", n, p)
		}
	}
}

// ignore marks fields that mean nothing for this family.
func (c *configReader) ignore(names ...string) {
	for _, n := range names {
		c.read[n] = true
	}
}

// refuseUnread refuses fields that are set, not read, and not known to be harmless.
func (c *configReader) refuseUnread(harmless map[string]bool) {
	var names []string
	for n, v := range c.raw {
		if !c.read[n] && !harmless[n] && !unset(v) {
			names = append(names, n)
		}
	}
	if len(names) > 0 {
		sort.Strings(names)
		b, _ := json.Marshal(c.raw[names[0]])
		if len(b) > 80 {
			b = append(b[:77], "..."...)
		}
		whose := ""
		if kind, ok := c.raw["model_type"]; ok {
			whose = fmt.Sprintf(" for model_type %v", kind)
		}
		c.fail(scu.CodeUnsupported, "%s = %s is not supported%s", names[0], b, whose)
	}
}

// unset reports whether a field's value turns nothing on.
func unset(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case string:
		return v == ""
	case json.Number:
		f, err := v.Float64()
		return err == nil && f == 0
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	return false
}

// activation reads the non-linearity's name.
func (c *configReader) activation(def string, names ...string) kernels.Activation {
	v, name := c.get(names...)
	if v == nil {
		v = def
	}
	switch v {
	case "gelu", "gelu_python":
		return kernels.GELU
	case "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate":
		return kernels.GELUTanh
	case "silu", "swish":
		return kernels.SiLU
	case "relu":
		return kernels.ReLU
	}
	c.fail(scu.CodeUnsupported, "%s = %v is not supported; gelu, gelu_new, gelu_pytorch_tanh, silu and relu are", name, v)
	return 0
}
