"""What Transformers + PEFT make of rows, one at a time: what rows that share a block must come to.

For each reference model with its first adapter (trainer/testdata/goldens/NAME/{model,adapter_init}), in fp32 on
the CPU, without padding: the summed loss of each row alone in nats, over the targets from its prompt's end on;
and of the gradient of all rows' losses together, for each LoRA tensor, the norm and the sum of its elements'
products with the tensor's.

usage: .venv/bin/python scripts/interop/rows.py trainer/testdata/goldens trainer/testdata/rows.json
"""
import json, pathlib, random, sys
import torch, transformers, peft
from transformers import AutoModelForCausalLM

goldens, out = map(pathlib.Path, sys.argv[1:])
transformers.logging.set_verbosity_error()
torch.set_num_threads(1)

# Lengths on both sides of the models' windows (8) and close to their positions (64); prompts that count and that don't.
LENGTHS = [2, 3, 5, 7, 8, 9, 13, 17, 24, 31, 40, 57]


def rows(vocab):
    """Rows that end with token 0, which the test takes for the end of text."""
    rng = random.Random(vocab)
    return [dict(ids=[rng.randrange(1, vocab) for _ in range(n - 1)] + [0], prompt=rng.choice([0, n // 3, n // 2])) for n in LENGTHS]


result = dict(made_with=dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__), models={})
for folder in sorted(p.parent for p in goldens.glob("*/model")):
    if json.loads((folder / "run.json").read_text())["train"]["nf4"]:
        continue  # its weights are rounded as they are loaded
    base = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager")
    model = peft.PeftModel.from_pretrained(base, folder / "adapter_init", is_trainable=True).eval()
    model.config.use_cache = False
    made = rows(base.config.get_text_config().vocab_size)
    total = 0
    for row in made:
        ids = torch.tensor([row["ids"]])
        labels = ids.clone()[0, 1:]
        labels[: max(0, row["prompt"] - 1)] = -100
        logits = model(input_ids=ids).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        row["loss"] = loss.item()
        total = total + loss
    total.backward()
    gradients = {
        n.replace(".default", ""): [p.grad.norm().item(), (p.grad.double() * p.double()).sum().item()]
        for n, p in model.named_parameters() if p.grad is not None  # Blenderbot also has an encoder
    }
    result["models"][folder.name] = dict(rows=made, gradients=gradients)
    print(folder.name, total.item())
out.write_text(json.dumps(result, separators=(",", ":")).replace('"rows":', '\n"rows":').replace('"gradients":', '\n"gradients":') + "\n")
