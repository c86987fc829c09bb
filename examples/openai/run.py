"""The life of a job through OpenAI's own Python package: pip install openai."""

import os
import time
from pathlib import Path

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("SCU_API_URL", "http://127.0.0.1:8000") + "/v1", api_key=os.environ.get("SCU_API_KEY") or "any")
text = Path(__file__).parent.parent / "text" / "keeper.txt"

file = client.files.create(file=text.open("rb"), purpose="fine-tune")
job = client.fine_tuning.jobs.create(
    model="bookworm-2m", training_file=file.id, suffix="keeper", seed=7,
    # what the package has no argument for: settings of the service's own
    extra_body={"steps": int(os.environ.get("STEPS", 80)), "block_size": 128, "learning_rate": 1e-3, "target_s": 0.1},
)
print("job", job.id)
while job.status not in ("succeeded", "failed", "cancelled"):
    time.sleep(0.2)
    job = client.fine_tuning.jobs.retrieve(job.id)
if job.status != "succeeded":
    raise SystemExit(job.error.message if job.error else job.status)

steps = [e.data for e in client.fine_tuning.jobs.list_events(job.id, limit=100) if e.type == "metrics"]  # the newest first
print(f"training loss {steps[-1]['train_loss']:.3f} at step {steps[-1]['step']}, {steps[0]['train_loss']:.3f} at step {steps[0]['step']}")
for model in ("bookworm-2m", job.fine_tuned_model):
    text = client.completions.create(model=model, prompt="The keeper", max_tokens=24, temperature=0).choices[0].text
    print(f"{model}: The keeper{text!r}")
