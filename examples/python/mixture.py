"""Trains on two sources, three tokens of the keeper's log to one of the chat, and prints the validation loss."""

import os
from pathlib import Path

from scu_client import SCUClient

client = SCUClient(os.environ.get("SCU_API_URL", "http://127.0.0.1:8000"), os.environ.get("SCU_API_KEY"))
examples = Path(__file__).parent.parent

job = client.submit_training_job(
    "bookworm-2m",
    {examples / "text" / "keeper.txt": 3, examples / "chat" / "chat.jsonl": 1},
    config_overrides={"steps": int(os.environ.get("STEPS", 60)), "learning_rate": 1e-3, "block_size": 128,
                      "lora": {"r": 8, "alpha": 16}, "control": {"target_s": 0.1}},
    wait=True, poll_interval=0.2,
)
job = client.get_job(job["job_id"])
for source in job["sources"]:
    print(f"{source['file']['name']}: share {source['share']}")
final = job["adapter"]["metrics"]
print(f"validation loss {final['val_loss_before']:.3f} before, {final['val_loss_after']:.3f} after")
