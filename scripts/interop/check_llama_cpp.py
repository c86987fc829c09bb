"""Checks that llama.cpp computes with a model and an adapter what is computed here.

usage: check_llama_cpp.py MODEL.gguf VAL_TOKENS.json --expect LOSS [--type TYPE] [--adapter ADAPTER.gguf [--scale S]]
           [--text FILE] [--prompt TEXT --continuation TEXT]        needs the built llama_cpp in PYTHONPATH

It promises when it exits with 0:
- llama.cpp loads the model, and the adapter onto it;
- its loss over VAL_TOKENS.json is LOSS with an fp32 cache: to 1e-4 for weights in fp32 (llama.cpp's GELU is a table in
  fp16), to what TOLERANCES says for those in --type, which it rounds activations to as well;
- with --text, its tokenizer gives the tokens of VAL_TOKENS.json for FILE;
- with --prompt, the likeliest tokens after TEXT are those of the continuation.

--scale is what --lora-scaled gives to llama.cpp's programs, 1 by default. VAL_TOKENS.json and the loss are as in
check_adapter.py. The loss is printed as one line of JSON; what is wrong goes to stderr.
"""
import argparse
import ctypes
import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np
from expected import Mismatch, read_rows, require

TOLERANCES = {"f32": 1e-4, "f16": 1e-3, "bf16": 2e-3, "q8_0": 5e-3}
ERROR = 4  # GGML_LOG_LEVEL_ERROR of ggml.h

told = []  # llama.cpp's errors


@llama_cpp.llama_log_callback
def log(level, text, _):
    if level == ERROR:
        told.append(text.decode(errors="replace").strip())


class Model:
    """A GGUF model in llama.cpp, with an adapter or without, for rows of at most `positions` tokens."""

    def __init__(self, path, positions, adapter=None, scale=1.0):
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        require(self.model, f"{path} doesn't load: {'; '.join(told)}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(self.vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = positions
        params.n_threads = params.n_threads_batch = 1  # several spin while they wait for each other, on busy machines for long
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        require(self.context, f"{path} has no context: {'; '.join(told)}")
        if adapter:
            lora = llama_cpp.llama_adapter_lora_init(self.model, adapter.encode())
            require(lora, f"{adapter} doesn't load: {'; '.join(told)}")
            loras, scales = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(lora), (ctypes.c_float * 1)(scale)
            require(llama_cpp.llama_set_adapters_lora(self.context, loras, 1, scales) == 0, f"{adapter} can't be used")

    def tokens(self, text):
        data = text.encode()
        out = (llama_cpp.llama_token * (len(data) + 8))()  # no token is shorter than a byte
        n = llama_cpp.llama_tokenize(self.vocab, data, len(data), out, len(out), True, False)
        require(n >= 0, f"the text doesn't tokenize: {n}")
        return list(out[:n])

    def logits(self, row):
        """[len(row), vocabulary] after each token of row."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        batch = llama_cpp.llama_batch_init(len(row), 0, 1)
        batch.n_tokens = len(row)
        for i, token in enumerate(row):
            batch.token[i], batch.pos[i], batch.logits[i] = token, i, True
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        require(llama_cpp.llama_decode(self.context, batch) == 0, f"decoding failed: {'; '.join(told)}")
        llama_cpp.llama_batch_free(batch)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.context), (len(row), self.vocabulary)).copy()

    def loss(self, rows):
        """Nats a token over the targets of all rows."""
        total = 0.0
        for row in rows:
            logits = self.logits(row)[:-1].astype(np.float64)
            logits -= logits.max(axis=1, keepdims=True)
            total += (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(row) - 1), row[1:]]).sum()
        return total / sum(len(row) - 1 for row in rows)


def check(args):
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    rows = json.loads(Path(args.tokens).read_text())
    model = Model(args.model, max(map(len, rows)), args.adapter, args.scale)
    loss = model.loss(read_rows(args.tokens, model.vocabulary))
    print(json.dumps({"llama_cpp_loss": loss, "expected": args.expect}))
    require(abs(loss - args.expect) <= TOLERANCES[args.type], f"llama.cpp's loss is {loss:.6f}, {args.expect:.6f} was expected")

    if args.text:
        # the document's end-of-text token is the trainer's own
        want, got = [t for row in rows for t in row][:-1], model.tokens(Path(args.text).read_text())
        require(got == want, f"{args.text}: llama.cpp gives {len(got)} tokens, {got[:8]}..., not {len(want)}, {want[:8]}...")
    if args.prompt:
        row, want = model.tokens(args.prompt), model.tokens(args.prompt + args.continuation)
        while len(row) < len(want):
            row.append(int(model.logits(row)[-1].argmax()))
        require(row == want, f"llama.cpp continues with other tokens: {row}, not {want}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("tokens", metavar="VAL_TOKENS.json")
    parser.add_argument("--expect", type=float, required=True, metavar="LOSS")
    parser.add_argument("--type", choices=TOLERANCES, default="f32")
    parser.add_argument("--adapter", metavar="ADAPTER.gguf")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--text", metavar="FILE")
    parser.add_argument("--prompt")
    parser.add_argument("--continuation")
    args = parser.parse_args()
    try:
        check(args)
    except (Mismatch, OSError, ValueError) as e:
        sys.exit(f"check_llama_cpp: {e}")


if __name__ == "__main__":
    main()
