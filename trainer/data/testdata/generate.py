"""Writes chat/expected.json: what Transformers makes of chat/conversations.json with
each template of chat/. Run it in an environment with transformers (5.x):

    python trainer/data/testdata/generate.py

Each entry has the text, the text with the generation prompt, and, for templates
with {% generation %}, where the assistant's turns lie, in UTF-8 bytes; null where the
template refuses the conversation. The date is fixed as it is in the Go code.
"""
import json
from datetime import datetime
from pathlib import Path

from transformers.utils import chat_template_utils as ctu

HERE = Path(__file__).parent / "chat"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def render(template, chat, prompt):
    compiled = ctu._compile_jinja_template(template)
    compiled.environment.globals["strftime_now"] = lambda f: datetime(2024, 7, 26).strftime(f)
    texts, spans = ctu.render_jinja_template(
        [chat["messages"]], tools=chat.get("tools"), chat_template=template,
        return_assistant_tokens_mask="endgeneration" in template, add_generation_prompt=prompt, **SPECIAL)
    text = texts[0]
    at = lambda i: len(text[:i].encode())
    return text, [[at(a), at(b)] for a, b in spans[0]] if spans else []


expected = {}
for path in sorted(HERE.glob("*.jinja")):
    template = path.read_text()
    expected[path.stem] = rows = {}
    for name, chat in json.loads((HERE / "conversations.json").read_text()).items():
        try:
            text, spans = render(template, chat, False)
            prompted, _ = render(template, chat, True)
            rows[name] = {"text": text, "prompted": prompted, "spans": spans}
        except Exception as e:
            print(f"{path.stem}/{name}: {e}")
            rows[name] = None
(HERE / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
