"""What the checks here have in common: how they fail, and the rows of tokens that they measure a loss on.

It imports nothing but the standard library: the checks against llama.cpp need neither torch nor Transformers.
"""
import json
from pathlib import Path


class Mismatch(Exception):
    """What was written here is not what a reader or the caller expects."""


def require(ok, message):
    if not ok:
        raise Mismatch(message)


def is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def read_rows(file, vocabulary):
    rows = json.loads(Path(file).read_text())
    require(isinstance(rows, list) and rows, f"{file}: not a list of token rows")
    for i, row in enumerate(rows):
        require(isinstance(row, list) and len(row) > 1, f"{file}: row {i} is not a list of two or more token ids")
        require(all(is_int(t) and 0 <= t < vocabulary for t in row), f"{file}: row {i} has a token outside 0..{vocabulary - 1}")
    return rows
