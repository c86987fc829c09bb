"""Trains an adapter through the API and says how the loss fell."""

import os
from pathlib import Path

from scu_client import SCUClient

client = SCUClient(os.environ.get("SCU_API_URL", "http://127.0.0.1:8000"), os.environ.get("SCU_API_KEY"))
assert client.health_check(), "start a server first: scu serve"

job = client.submit_training_job(
    "bookworm-2m",
    Path(__file__).parent.parent / "text" / "keeper.txt",
    config_overrides={"steps": int(os.environ.get("STEPS", 80)), "learning_rate": 1e-3, "block_size": 128,
                      "batch_size": 2, "lora": {"r": 8, "alpha": 16}, "control": {"target_s": 0.1}},
    wait=True, poll_interval=0.2,
)
steps = list(client.get_training_metrics(job["job_id"]))
print(f"ce {steps[0]['ce']:.3f} at step {steps[0]['step']}, {steps[-1]['ce']:.3f} at step {steps[-1]['step']}")
path = client.get_adapter(job["job_id"], os.environ.get("OUT", "."))
print(f"adapter: {path.stat().st_size} bytes in {path}")
