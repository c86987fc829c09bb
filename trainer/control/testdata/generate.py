"""The log_pi law, written anew from its formulas, on a made-up S of 600 steps: log_pi.json.

z = clamp(ln(s_hat / target), -3, 3); log lambda = log lambda_init + Kp z + I; I += Ki z, unless lambda
is at a bound and z pushes further out. The S swings over many orders and is 0 at times, so that the
clamp, both bounds and the way back from them are met; the last steps stay near the target.

usage: python generate.py >log_pi.json
"""
import json
import math
import random

EMA, SPAN = 0.1, 3.0


def replay(target, kp, ki, init, low, high, shares):
    s_hat, integral, steps = None, 0.0, []
    for s in shares:
        s_hat = s if s_hat is None else EMA * s + (1 - EMA) * s_hat
        z = -SPAN if s_hat == 0 else min(SPAN, max(-SPAN, math.log(s_hat / target)))
        wanted = math.log(init) + kp * z + integral
        lam = min(high, max(low, math.exp(wanted)))
        stuck = (lam >= high and z > 0) or (lam <= low and z < 0)
        if not stuck:
            integral += ki * z
        steps.append({"s": s, "s_hat": s_hat, "integral": integral, "lambda_next": lam})
    return steps


def shares(seed):
    r = random.Random(seed)
    out = [0.0, 0.0]
    for i in range(150):
        out.append(0.9 * math.exp(-i / 20))  # falls from far over the target
    for _ in range(150):
        out.append(10 ** r.uniform(-4, -0.1))
    out += [0.5] * 100 + [1e-9] * 100  # long at one end, then at the other
    for _ in range(98):
        out.append(0.01 * math.exp(r.gauss(0, 0.05)))
    return out


runs = []
for name, c in {
    "defaults": dict(target=0.01, kp=1, ki=0.02, init=1, low=1e-6, high=1e4),
    "narrow bounds": dict(target=0.004, kp=1, ki=0.02, init=1, low=0.05, high=15),
    "other gains": dict(target=0.05, kp=2.5, ki=0.1, init=8, low=1e-6, high=1e4),
}.items():
    runs.append({"name": name, "control": c, "steps": replay(shares=shares(len(runs)), **c)})
print(json.dumps(runs, indent=None, separators=(",", ":")))
