"""Checks that an adapter's folder is its base's tokenizer to Transformers' AutoTokenizer, without a model beside it.

usage: check_tokenizer.py BASE_DIR ADAPTER_DIR TEXT_FILE

The end-of-text token is that of the base's config.json, the chat template the base's, and each line of TEXT_FILE
gives the same ids and comes back whole. Prints the token, and exits with 1 saying what doesn't match.
"""
import json
import sys
from pathlib import Path

from transformers import AutoTokenizer


def check(base_dir, adapter_dir, text_file):
    base = AutoTokenizer.from_pretrained(base_dir, local_files_only=True)
    ours = AutoTokenizer.from_pretrained(adapter_dir, local_files_only=True)
    eos = json.loads((Path(base_dir) / "config.json").read_text())["eos_token_id"]
    first = eos[0] if isinstance(eos, list) else eos
    if ours.eos_token_id != first and ours.eos_token_id != base.eos_token_id:
        sys.exit(f"check_tokenizer: eos_token is {ours.eos_token!r}, {ours.eos_token_id}, not {first}")
    if ours.chat_template != base.chat_template:
        sys.exit("check_tokenizer: the chat template isn't the base's")
    for line in Path(text_file).read_text().splitlines():
        ids = ours.encode(line)
        if ids != base.encode(line) or ours.decode(ids, skip_special_tokens=True) != line:
            sys.exit(f"check_tokenizer: {line!r} is {ids} here and {base.encode(line)} in the base")
    print(json.dumps({"eos_token": ours.eos_token, "chat_template": ours.chat_template is not None}))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    check(*sys.argv[1:])
