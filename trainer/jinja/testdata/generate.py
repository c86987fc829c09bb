"""Writes what Transformers makes of the templates here. Run it in an environment with
transformers:

    python trainer/jinja/testdata/generate.py

chat/expected.json: each template of chat/, and the built-in model's, with each conversation
of chat/conversations.json, as it is and with the generation prompt; null where the template
refuses it. expressions.json: each line of expressions.txt, a template, with the variables at its head;
an error is null.
"""
import json
from pathlib import Path

import reference

HERE = Path(__file__).parent
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def write(path, value):
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def chats():
    expected = {}
    conversations = json.loads((HERE / "chat/conversations.json").read_text())
    templates = {path.stem: path for path in sorted((HERE / "chat").glob("*.jinja"))}
    templates["bookworm-2m"] = HERE / "../../../models/bookworm-2m/chat_template.jinja"
    for family, path in templates.items():
        expected[family] = rows = {}
        for name, chat in conversations.items():
            try:
                text, spans = reference.render_chat(path.read_text(), chat, False, SPECIAL)
                prompted, _ = reference.render_chat(path.read_text(), chat, True, SPECIAL)
                rows[name] = {"text": text, "prompted": prompted, "spans": spans}
            except Exception as e:
                print(f"{family}/{name}: {e}")
                rows[name] = None
    write(HERE / "chat/expected.json", expected)


def expressions():
    lines = (HERE / "expressions.txt").read_text().splitlines()
    variables = json.loads(lines[0])
    out = []
    for line in lines[1:]:
        if not line or line.startswith("##"):
            continue
        source = line.replace("⏎", "\n")
        try:
            out.append([source, reference.render(source, variables)])
        except Exception as e:
            out.append([source, None])
            print(f"{line}: {type(e).__name__}: {e}")
    write(HERE / "expressions.json", {"variables": variables, "cases": out})


if __name__ == "__main__":
    chats()
    expressions()
