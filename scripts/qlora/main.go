// Command qlora writes a Llama model of random weights to a folder, its linear layers in 4 bits as
// bitsandbytes stores them and the rest in BF16: 104M parameters. There is no tokenizer. It is for
// scripts that measure.
//
//	go run ./scripts/qlora FOLDER
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/nf4"
	"github.com/shannon-control/scu/trainer/safetensors"
)

const (
	vocab, hidden, intermediate, layers = 32000, 1024, 2816, 6
	heads, kvHeads                      = 16, 8
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: qlora FOLDER")
	}
	if err := write(os.Args[1]); err != nil {
		log.Fatal("qlora: ", err)
	}
}

func write(dir string) error {
	config := fmt.Sprintf(`{"model_type":"llama","vocab_size":%d,"hidden_size":%d,"intermediate_size":%d,"num_hidden_layers":%d,
"num_attention_heads":%d,"num_key_value_heads":%d,"max_position_embeddings":2048,"tie_word_embeddings":true,"torch_dtype":"bfloat16",
"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4","bnb_4bit_use_double_quant":true}}`,
		vocab, hidden, intermediate, layers, heads, kvHeads)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		return err
	}
	var w weights
	w.plain("model.embed_tokens.weight", vocab, hidden)
	w.plain("model.norm.weight", hidden)
	for i := range layers {
		layer := fmt.Sprintf("model.layers.%d.", i)
		w.plain(layer+"input_layernorm.weight", hidden)
		w.plain(layer+"post_attention_layernorm.weight", hidden)
		w.inNF4(layer+"self_attn.q_proj.weight", hidden, hidden)
		w.inNF4(layer+"self_attn.k_proj.weight", hidden/heads*kvHeads, hidden)
		w.inNF4(layer+"self_attn.v_proj.weight", hidden/heads*kvHeads, hidden)
		w.inNF4(layer+"self_attn.o_proj.weight", hidden, hidden)
		w.inNF4(layer+"mlp.gate_proj.weight", intermediate, hidden)
		w.inNF4(layer+"mlp.up_proj.weight", intermediate, hidden)
		w.inNF4(layer+"mlp.down_proj.weight", hidden, intermediate)
	}
	if w.err != nil {
		return w.err
	}
	f, err := os.Create(filepath.Join(dir, safetensors.SingleFile))
	if err != nil {
		return err
	}
	if err := safetensors.Write(f, nil, w.tensors); err != nil {
		return err
	}
	return f.Close()
}

// weights collects tensors; the first error stays.
type weights struct {
	tensors []safetensors.Tensor
	err     error
}

// plain adds random weights in BF16.
func (w *weights) plain(name string, shape ...int) {
	t, err := safetensors.FromFloat32As(safetensors.BF16, name, shape, random(shape))
	if err != nil {
		w.err = err
	}
	w.tensors = append(w.tensors, t)
}

// inNF4 adds a random matrix as bitsandbytes stores it.
func (w *weights) inNF4(name string, rows, cols int) {
	shape := []int{rows, cols}
	m, err := nf4.Quantize(safetensors.FromFloat32(name, shape, random(shape)))
	if err != nil {
		w.err = err
		return
	}
	state, err := json.Marshal(nf4.State{QuantType: "nf4", BlockSize: kernels.NF4Block, DType: "bfloat16", Shape: shape,
		NestedBlockSize: 256, NestedDType: "float32", NestedOffset: new(float64(m.Scales.Offset))})
	if err != nil {
		w.err = err
		return
	}
	column := func(suffix string, data []byte, shape ...int) {
		w.tensors = append(w.tensors, safetensors.Tensor{Name: name + suffix, DType: safetensors.U8, Shape: shape, Data: data})
	}
	floats := func(suffix string, v []float32) {
		w.tensors = append(w.tensors, safetensors.FromFloat32(name+suffix, []int{len(v)}, v))
	}
	column("", m.Packed, len(m.Packed), 1)
	column(".absmax", m.Scales.Codes, len(m.Scales.Codes))
	column(".quant_state.bitsandbytes__nf4", state, len(state))
	floats(".quant_map", kernels.NF4Levels[:])
	floats(".nested_absmax", m.Scales.Absmax)
	floats(".nested_quant_map", m.Scales.Map[:])
}

// random weights: small, those of norms around 1.
func random(shape []int) []float32 {
	n, mean := 1, float32(1)
	for _, d := range shape {
		n *= d
	}
	if len(shape) == 2 {
		mean = 0
	}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = mean + float32(r.Float64()-0.5)*0.07
	}
	return x
}
