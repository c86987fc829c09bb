"""Runs llama.cpp's convert_hf_to_gguf.py on a model with bookworm-2m's tokenizer, weights in fp32.

usage: convert_base.py LLAMA_CPP_DIR MODEL_DIR OUT.gguf

llama.cpp knows how a tokenizer splits text into words by a hash over the tokens of one sample, out of a list of the
models that its developers have seen. So it refuses every tokenizer with a vocabulary of its own, bookworm-2m's too,
and asks to have it added to the list. That is what is done here, and nothing else: bookworm-2m splits as GPT-2 does.
A random model of another family with this tokenizer gets it written as what it is (byte-level BPE), whatever
tokenizer its family usually has. check_llama_cpp.py compares the tokens. The converter also gets the fields of config.json
that Transformers drops, as the rotary_pct of GPT-NeoX.
"""
import json
import runpy
import sys
from pathlib import Path

tree, model, out = sys.argv[1:]
sys.path.insert(0, tree)
from conversion import ModelBase, TextModel, get_model_class  # noqa: E402 (of the tree)

config = json.loads(Path(model, "config.json").read_text())
architecture = config["architectures"][0]
load_hparams = ModelBase.load_hparams
ModelBase.load_hparams = staticmethod(lambda *args, **kwargs: config | load_hparams(*args, **kwargs))
get_model_class(architecture).set_vocab = TextModel._set_vocab_gpt2
TextModel.get_vocab_base_pre = lambda self, tokenizer: "gpt-2"
sys.argv = ["convert_hf_to_gguf.py", "--outtype", "f32", "--outfile", out, model]
runpy.run_path(str(Path(tree, sys.argv[0])), run_name="__main__")
