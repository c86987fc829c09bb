package scu

import (
	"strings"
	"testing"
)

// A model's size by its name: the longest row of the table that the name contains,
// else a size that the name says.
func TestSizeOf(t *testing.T) {
	for name, want := range map[string]ModelSize{
		"gpt2":                                {124e6, SizeFromTable},
		"distilgpt2":                          {82e6, SizeFromTable},
		"EleutherAI/gpt-neo-2.7B":             {2.7e9, SizeFromTable},
		"EleutherAI/gpt-neo-125m":             {125e6, SizeFromTable},
		"EleutherAI/pythia-2.8b-deduped":      {2.8e9, SizeFromTable},
		"EleutherAI/pythia-12b":               {12e9, SizeFromName},
		"microsoft/DialoGPT-large":            {774e6, SizeFromTable},
		"meta-llama/Llama-3.2-1B":             {1e9, SizeFromTable},
		"meta-llama/Llama-3.1-8B-Instruct":    {8e9, SizeFromTable},
		"Qwen/Qwen2.5-0.5B":                   {500e6, SizeFromName},
		"HuggingFaceTB/SmolLM2-135M":          {135e6, SizeFromName},
		"somebody/novel":                      {1e9, SizeAssumed},
		"somebody/model-0b":                   {1e9, SizeAssumed},
		"somebody/" + strings.Repeat("9", 80): {1e9, SizeAssumed},
	} {
		if got := SizeOf(name); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// Every recommendation is a configuration that passes its own checks, in which each
// choice stands with a reason.
func TestRecommendationsAreValid(t *testing.T) {
	for _, m := range append(knownModels, knownModel{name: "x/y-13b"}, knownModel{name: "x/y"}) {
		for _, tokens := range []int64{0, 1, 300, 5_000, 1 << 20, 1 << 30} {
			for _, gpu := range []int64{0, 24 << 30, 80 << 30} {
				r := Recommend(Facts{BaseModel: m.name, Tokens: tokens, GPUMemory: gpu, Positions: 2048, Width: 768, Validation: tokens > 1000})
				c, err := r.Overlay(DefaultConfig())
				if err != nil {
					t.Fatalf("%s, %d tokens: %v", m.name, tokens, err)
				}
				if err := c.Check(); err != nil {
					t.Errorf("%s, %d tokens: %v", m.name, tokens, err)
				}
				for _, choice := range r.Choices {
					if choice.Reason == "" {
						t.Errorf("%s: %s has no reason", m.name, choice.Field)
					}
				}
			}
		}
	}
}

// The published rules hold for the models they were published for; what was measured
// here goes before them on small models.
func TestRecommend(t *testing.T) {
	gpu := int64(80 << 30)
	for _, c := range []struct {
		name  string
		facts Facts
		want  map[string]any
	}{
		{"a large text on a known model", Facts{BaseModel: "meta-llama/Llama-3.2-1B", Tokens: 20e6, GPUMemory: gpu, Positions: 131072, Width: 2048},
			map[string]any{"control.target_s": 0.01, "lora.r": 16, "lora.alpha": 32, "batch_size": 4, "gradient_accumulation_steps": 4,
				"block_size": 1024, "learning_rate": 5e-5, "epochs": 1, "use_4bit": false, "use_fp16": true}},
		{"a small text: more care", Facts{BaseModel: "meta-llama/Llama-3.2-1B", Tokens: 500_000, GPUMemory: gpu, Positions: 131072, Width: 2048},
			map[string]any{"control.target_s": 0.007, "batch_size": 4, "epochs": 7}},
		{"a large model: low rate, long blocks, one at a time", Facts{BaseModel: "meta-llama/Llama-3.1-8B", Tokens: 20e6, GPUMemory: gpu, Positions: 131072, Width: 4096},
			map[string]any{"lora.r": 64, "batch_size": 1, "gradient_accumulation_steps": 16, "block_size": 4096, "learning_rate": 1e-5}},
		{"a model that fits its GPU in 4 bits only", Facts{BaseModel: "meta-llama/Llama-3.1-8B", Tokens: 20e6, GPUMemory: 16 << 30, Positions: 131072, Width: 4096},
			map[string]any{"use_4bit": true}},
		{"the built-in model on a keeper's log", Facts{BaseModel: "bookworm-2m", Size: ModelSize{2.4e6, SizeFromCheckpoint}, Tokens: 5_500, Positions: 512, Width: 128, Validation: true},
			map[string]any{"control.target_s": 0.008, "lora.r": 8, "block_size": 256, "batch_size": 2, "gradient_accumulation_steps": 1, "learning_rate": 1e-3, "epochs": 19, "use_4bit": false}},
		{"without validation the target is lower", Facts{BaseModel: "bookworm-2m", Size: ModelSize{2.4e6, SizeFromCheckpoint}, Tokens: 5_500, Positions: 512, Width: 128},
			map[string]any{"control.target_s": 0.004}},
		{"rows set the block", Facts{BaseModel: "gpt2", Tokens: 2e6, Longest: 300, Positions: 1024, Width: 768, GPUMemory: gpu},
			map[string]any{"block_size": 512}},
		{"rows don't fill their blocks", Facts{BaseModel: "bookworm-2m", Size: ModelSize{2.4e6, SizeFromCheckpoint}, Tokens: 1_464, Longest: 82, Positions: 512, Width: 128,
			Blocks: func(c Config) int { return 19 * 128 / c.BlockSize }},
			map[string]any{"block_size": 128, "batch_size": 1, "epochs": 11}},
		{"positions bound the block", Facts{BaseModel: "gpt2", Tokens: 2e6, Positions: 512, Width: 768, GPUMemory: gpu},
			map[string]any{"block_size": 512}},
		{"memory bounds the batch", Facts{BaseModel: "gpt2", Tokens: 2e6, Positions: 1024, Width: 768, Fits: func(c Config) bool { return c.BatchSize <= 2 }},
			map[string]any{"batch_size": 2, "gradient_accumulation_steps": 8}},
		{"a narrow model has a low rank", Facts{BaseModel: "x/y-8B", Tokens: 2e7, Width: 64},
			map[string]any{"lora.r": 8}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]any{}
			for _, choice := range Recommend(c.facts).Choices {
				got[choice.Field] = choice.Value
			}
			for field, want := range c.want {
				if got[field] != want {
					t.Errorf("%s: %v, want %v", field, got[field], want)
				}
			}
		})
	}
}
