"""Times LoRA training steps of Transformers + PEFT + PyTorch on the CPU: the figures ours stand beside.

usage: bench_torch.py MODEL --batch B --tokens T --steps N [--rank 16] [--dropout 0.0] [--warmup 1] [--threads N]

MODEL is a model's folder, or gpt2-124m: GPT-2's default shape (12 layers, 768 wide, 50,257 tokens,
1,024 positions) with random weights. One step is one batch of B rows of T random tokens: forward with
the model's own mean token loss, backward, the SCU regulariser's gradient, clipping to norm 1 and AdamW,
on every linear layer of the blocks, in fp32 with the attention that Transformers picks by default.

Prints one line of JSON: tokens_per_s from the median of the timed steps, peak_rss_mib of this process.
"""
import argparse
import json
import resource
import statistics
import sys
import time
import warnings

import torch
import transformers
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config

SEED = 0
LAMBDA, PRIOR_SIGMA, TOKENS_PER_EPOCH = 1.0, 0.1, 100_000


def load(name):
    if name != "gpt2-124m":
        return AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32, local_files_only=True)
    config = GPT2Config(resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32)


def peak_rss_mib():
    """The most memory this process held. Linux's own count starts at exec; getrusage's includes the parent's."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:")) / 2**10


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=None, help="torch's own choice when not given")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # PEFT's use of Transformers' older names
    torch.manual_seed(SEED)
    if args.threads:
        torch.set_num_threads(args.threads)

    base = load(args.model)
    lora = LoraConfig(task_type="CAUSAL_LM", r=args.rank, lora_alpha=2 * args.rank, lora_dropout=args.dropout,
                      target_modules="all-linear", fan_in_fan_out=base.config.model_type == "gpt2")
    model = get_peft_model(base, lora).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-4, weight_decay=0.0)
    vocabulary = base.config.vocab_size

    def step():
        x = torch.randint(0, vocabulary, (args.batch, args.tokens))  # [B,T]
        optimizer.zero_grad()
        model(input_ids=x, labels=x, use_cache=False).loss.backward()
        (LAMBDA * sum((p**2).sum() for p in weights) / (2 * PRIOR_SIGMA**2 * TOKENS_PER_EPOCH)).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    for _ in range(args.warmup):
        step()
    seconds = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)

    print(json.dumps({
        "model": args.model, "batch": args.batch, "tokens": args.tokens, "rank": args.rank, "dropout": args.dropout,
        "trained_parameters": sum(p.numel() for p in weights), "attention": model.config._attn_implementation,
        "tokens_per_s": round(args.batch * args.tokens / statistics.median(seconds), 1), "peak_rss_mib": round(peak_rss_mib(), 1),
        "steps": args.steps, "threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": transformers.__version__,
    }))


if __name__ == "__main__":
    main()
