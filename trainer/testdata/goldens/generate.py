"""Makes the reference run llama_log_pi with Transformers + PEFT + PyTorch, in fp32 on the CPU: the law log_pi,
written anew from its formulas, over a training run.

    scripts/interop/venv.sh && .venv/bin/python trainer/testdata/goldens/generate.py trainer/testdata/goldens

What a run's folder holds is in docs/adding-a-model.md.
"""
import json
import math
import os
import shutil
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, get_linear_schedule_with_warmup

STEPS, MICRO, BATCH, BLOCK, VOCAB = 40, 2, 2, 24, 160
LR, WARMUP, SIGMA, N = 5e-3, 0.1, 0.1, 4000
CONTROL = dict(law="log_pi", target_s=0.02, kp=1, ki=0.02, deadband=0, lambda_init=1.0, lambda_min=1e-6, lambda_max=1e4)
LORA = dict(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])

torch.manual_seed(11)
torch.set_num_threads(1)
out = os.path.join(sys.argv[1], "llama_log_pi")
shutil.rmtree(out, ignore_errors=True)

model = LlamaForCausalLM._from_config(LlamaConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=64, vocab_size=VOCAB,
    max_position_embeddings=64, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False), attn_implementation="eager").float()
with torch.no_grad():
    for p in model.parameters():
        p.add_(torch.randn_like(p) * (0.1 if p.dim() == 1 else 0.15))
model.save_pretrained(out + "/model")
model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **LORA))
with torch.no_grad():
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.copy_(torch.randn(p.shape) * 0.05)
model.train()
model.config.use_cache = False
model.save_pretrained(out + "/adapter_init")

batches = torch.randint(0, VOCAB, (1, MICRO, BATCH, BLOCK)).repeat(STEPS, 1, 1, 1)  # the same rows: there is something to learn
named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
params = [p for _, p in named]
adamw = torch.optim.AdamW(params, lr=LR, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
schedule = get_linear_schedule_with_warmup(adamw, int(WARMUP * STEPS), STEPS)

k, lam, integral, s_hat, steps = CONTROL, CONTROL["lambda_init"], 0.0, None, []
targets = MICRO * BATCH * (BLOCK - 1)
for step in range(STEPS):
    adamw.zero_grad()
    losses = []
    for x in batches[step]:
        logits = model(input_ids=x).logits.float()
        if step == 0 and not losses:
            first_logits = logits[0, :3].detach().clone()
        nats = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), x[:, 1:].reshape(-1), reduction="sum")
        (nats / targets).backward()
        losses.append(nats.item())
    squares = sum((p.double() ** 2).sum() for p in params).item()
    (lam * sum((p ** 2).sum() for p in params) / (2 * SIGMA**2 * N)).backward()
    if step == 0:
        save_file({n.replace(".default", ""): p.grad.clone().contiguous() for n, p in named}, out + "/grads.safetensors")
    norm, lr = torch.nn.utils.clip_grad_norm_(params, 1.0).item(), schedule.get_last_lr()[0]
    adamw.step()
    schedule.step()

    ce = sum(losses) / targets
    data, param = ce / math.log(2), squares / (2 * SIGMA**2 * N * math.log(2))
    s = param / (data + param)
    s_hat = s if s_hat is None else 0.1 * s + 0.9 * s_hat
    z = max(-3.0, min(3.0, math.log(s_hat / k["target_s"])))
    wanted = k["lambda_init"] * math.exp(k["kp"] * z + integral)
    following = min(k["lambda_max"], max(k["lambda_min"], wanted))
    if not (following >= k["lambda_max"] and z > 0 or following <= k["lambda_min"] and z < 0):
        integral += k["ki"] * z
    steps.append(dict(step=step, micro_losses=losses, targets=targets, ce=ce, data_bpt=data, param_bpt=param, s=s, s_hat=s_hat,
                      **{"lambda": lam}, lambda_next=following, integral=integral, lr=lr, grad_norm=norm))
    lam = following
model.save_pretrained(out + "/adapter_final")
for folder in ("adapter_init", "adapter_final"):
    if os.path.exists(f"{out}/{folder}/README.md"):
        os.remove(f"{out}/{folder}/README.md")

train = dict(steps=STEPS, micro_batch=BATCH, accumulation=MICRO, block=BLOCK, lr=LR, warmup=WARMUP, max_grad_norm=1.0, prior_sigma=SIGMA,
             tokens_per_epoch=N, ragged=False, nf4=False)
with open(out + "/run.json", "w") as f:
    json.dump(dict(case=dict(name="llama_log_pi", lora=LORA), train=train, control=CONTROL, batches=batches.tolist(),
                   lengths=torch.full((STEPS, MICRO, BATCH), BLOCK).tolist(), first_logits=first_logits.tolist(), steps=steps,
                   made_with=dict(torch=torch.__version__, transformers=transformers.__version__)), f)
print([(round(r["ce"], 3), round(r["s"], 4), round(r["lambda_next"], 3)) for r in steps[::5]])
