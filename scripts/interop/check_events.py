"""Checks that TensorBoard's own reader finds in an exported event file what the export as JSON lines has.

usage: check_events.py LOGDIR STEPS.jsonl
"""
import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

# tag of TensorBoard: field of a step
TAGS = {"loss/train": "ce", "controller/s": "s_ratio", "controller/target_s": "target_s", "controller/lambda": "lambda_value", "optimiser/learning_rate": "learning_rate"}

logdir, steps = sys.argv[1], [json.loads(line) for line in Path(sys.argv[2]).read_text().splitlines()]
events = EventAccumulator(logdir, size_guidance={SCALARS: 0})
events.Reload()
for tag, field in TAGS.items():
    got = [(e.step, e.value) for e in events.Scalars(tag)]
    want = [(s["step"], s[field]) for s in steps]
    if [g[0] for g in got] != [w[0] for w in want] or any(abs(g[1] - w[1]) > 1e-6 * abs(w[1]) for g, w in zip(got, want)):
        sys.exit(f"check_events: {tag}: {got[:3]}, not {want[:3]}")
print(json.dumps({"tensorboard_steps": len(steps), "tags": len(events.Tags()["scalars"])}))
