package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
)

// maxConfigBytes bounds config.json: real ones have a few kilobytes.
const maxConfigBytes = 4 << 20

// ReadSpec reads the config.json of a model folder.
func ReadSpec(dir string) (*Spec, error) {
	f, err := os.Open(filepath.Join(dir, "config.json"))
	if err != nil {
		if e := new(fs.PathError); errors.As(err, &e) {
			err = e.Err // the folder's place on a server is nobody's business
		}
		return nil, scu.Errorf(scu.CodeInvalid, "the model folder has no readable config.json: %w", err).
			WithHint("a model folder holds config.json, *.safetensors and tokenizer.json")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "config.json: %w", err)
	}
	if len(b) > maxConfigBytes {
		return nil, scu.Errorf(scu.CodeTooLarge, "config.json has more than %d bytes", maxConfigBytes)
	}
	return ParseSpec(b)
}

// ParseSpec turns the text of a config.json into a Spec. What this package can't
// compute exactly is CodeUnsupported and named.
func ParseSpec(b []byte) (spec *Spec, err error) {
	var raw map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "config.json is not a JSON object: %w", err)
	}
	c := &configReader{raw: raw, read: map[string]bool{}}
	kind := c.str("model_type", "")
	family, ok := families[kind]
	if !ok {
		if why := refusals[kind]; why != "" {
			return nil, scu.Errorf(scu.CodeUnsupported, "config.json: model_type %q can't be fine-tuned here: %s", kind, why)
		}
		return nil, scu.Errorf(scu.CodeUnsupported, "config.json: model_type %q is not supported", kind).
			WithHint("supported: %s", strings.Join(Families(), ", "))
	}
	spec = family(c)
	c.unsupportedUnless("is_encoder_decoder", false)
	c.quantization()
	c.refuseUnread(harmless)
	if c.err != nil {
		return nil, c.err
	}
	if spec.TiedHead { // the one weight may be stored under the head's name
		spec.Prefixes = append(spec.Prefixes, Prefix{spec.Embed, spec.Head.Path + ".weight"})
	}
	spec.Family, spec.Notes = kind, c.notes
	return spec, nil
}

// families maps model_type to the reader of its config.json.
var families = map[string]func(*configReader) *Spec{
	"gpt2":        gpt2,
	"gpt_neo":     gptNeo,
	"gpt_neox":    gptNeoX,
	"llama":       llama,
	"mistral":     mistral,
	"qwen2":       qwen2,
	"qwen3":       qwen3,
	"gemma":       gemma,
	"gemma2":      gemma2,
	"gemma3_text": gemma3,
	"phi3":        phi3,
	"olmo2":       olmo2,
	"blenderbot":  blenderbot,
}

// refusals says why a model that people ask for is not done.
var refusals = map[string]string{
	"reformer": "google/reformer-enwik8 reads bytes through reversible LSH-attention layers and is not published as safetensors",
	"gemma3":   "it is the vision-and-text wrapper; use the text model (model_type gemma3_text)",
}

// Families lists the supported values of model_type.
func Families() []string {
	var out []string
	for k := range families {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// harmless are fields of config.json that don't change the losses of a training
// run. Whatever else a family doesn't read is refused when it is set.
var harmless = setOf(
	"_name_or_path", "_attn_implementation_autoset", "architectures", "auto_map", "model_type", "transformers_version", "torch_dtype",
	"dtype", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id", "initializer_range",
	"init_std", "init_device", "name_or_path", "tokenizer_class", "task_specific_params", "id2label", "label2id", "num_labels", "problem_type", "prefix",
	"finetuning_task", "gradient_checkpointing", "cache_implementation", "pretraining_tp", "output_attentions", "output_hidden_states", "output_past",
	"return_dict", "is_decoder", "torchscript", "chunk_size_feed_forward", "classifier_dropout", "unsloth_version", "unsloth_fixed",
	"_attn_implementation", "attn_implementation", "_commit_hash", "_flash_attn_2_enabled", "tf_legacy_loss", "use_bfloat16", "pruned_heads",
	"tie_encoder_decoder", "decoder_start_token_id", "max_window_layers", "rope_interleaved",
	// What some models of the Hub hold and no code reads: DistilGPT-2, GPT-2 medium, Llama 1, SmolLM2, Gemma 2, Phi-4 mini.
	"_num_labels", "predict_special_tokens", "max_sequence_length", "is_llama_config", "transformers.js_config", "sliding_window_size",
	"full_attn_mod", "interpolate_factor",
	// How text is generated.
	"bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
	"encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
	"length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
	"remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "temperature", "top_k", "top_p", "typical_p",
)

func setOf(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// configReader reads fields of config.json, remembers which, and keeps the first
// error.
type configReader struct {
	in    string // where raw lies, as "quantization_config."; "" for the whole
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

// get returns a field under that of its names which is there and not null. Several
// that disagree are refused: which goes first depends on who reads.
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

// null says that a field is there and null, which is not always what its absence is.
func (c *configReader) null(name string) bool {
	v, there := c.raw[name]
	return there && v == nil
}

// note tells people what of config.json is not applied, and why. A value of whatever
// length may be part of it.
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

// maxHeadDim bounds the elements of a head: memory that no tensor of the file stands
// for, as the tables of a rotation, grows with it. Real heads have 256 at the most.
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

// unsupportedUnless refuses any value but the one that is implemented.
func (c *configReader) unsupportedUnless(name string, want bool) {
	if got := c.flag(want, name); got != want {
		c.fail(scu.CodeUnsupported, "%s = %v is not supported", name, got)
	}
}

// noDropout reads a dropout rate of the base. It isn't applied: the frozen base
// runs as it was trained to be used, and lora.dropout regularises the adapter.
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

// quantization reads quantization_config. Which weights are quantised, and whether
// their scales are, is said again beside each weight (see nf4.Open), and that is
// what counts: bnb_4bit_use_double_quant, bnb_4bit_quant_storage and
// llm_int8_skip_modules need no reading.
func (c *configReader) quantization() {
	q := c.object("quantization_config")
	if q == nil {
		return
	}
	c.within("quantization_config", q, (*configReader).bitsandbytes)
}

// bitsandbytes reads the fields of quantization_config.
func (c *configReader) bitsandbytes() {
	if m := c.str("quant_method", "bitsandbytes"); m != "bitsandbytes" {
		c.fail(scu.CodeUnsupported, "quant_method = %q is not supported; bitsandbytes is", m)
	}
	for _, name := range []string{"load_in_8bit", "_load_in_8bit"} {
		c.unsupportedUnless(name, false)
	}
	if !c.flag(false, "load_in_4bit", "_load_in_4bit") {
		c.fail(scu.CodeUnsupported, "load_in_4bit is not set; of bitsandbytes' formats only nf4 is supported")
	}
	if t := c.str("bnb_4bit_quant_type", "fp4"); t != "nf4" {
		c.fail(scu.CodeUnsupported, "bnb_4bit_quant_type = %q is not supported; nf4 is", t)
	}
	c.ignore("bnb_4bit_use_double_quant", "bnb_4bit_quant_storage", "llm_int8_skip_modules",
		"llm_int8_threshold", "llm_int8_has_fp16_weight", "llm_int8_enable_fp32_cpu_offload") // the last three are of 8 bits
	if t := c.str("bnb_4bit_compute_dtype", "float32"); t != "float32" {
		c.note("bnb_4bit_compute_dtype %s is not applied: 4-bit weights are widened to the device's own type", t)
	}
	c.refuseUnread(nil)
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

// unset says that a field's value switches nothing on.
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
