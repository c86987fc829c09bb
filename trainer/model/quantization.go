package model

import "github.com/shannon-control/scu"

// quantization reads quantization_config. Each weight carries its own description of
// how it and its scales are quantised (see nf4.Open), and that one counts:
// bnb_4bit_use_double_quant, bnb_4bit_quant_storage and llm_int8_skip_modules are
// ignored.
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
		c.refuse(name)
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
