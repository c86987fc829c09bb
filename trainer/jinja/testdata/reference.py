"""How Transformers renders a chat template, with the day fixed as it is in the Go code.
Made with transformers 5.24.0 and jinja2 3.1.6."""
from datetime import datetime

from transformers.utils import chat_template_utils as ctu

TODAY = datetime(2024, 7, 26)


def compiled(source):
    template = ctu._compile_jinja_template(source)
    template.environment.globals["strftime_now"] = lambda f: TODAY.strftime(f)
    return template


def render(source, variables):
    return compiled(source).render(**variables)


def render_chat(source, chat, prompt, special):
    """The text of a conversation, and where its generation blocks lie, in UTF-8 bytes."""
    compiled(source)
    messages = ctu._normalize_chat_messages(chat["messages"])
    texts, spans = ctu.render_jinja_template(
        [messages], tools=chat.get("tools"), chat_template=source,
        return_assistant_tokens_mask="endgeneration" in source, add_generation_prompt=prompt, **special)
    at = lambda i: len(texts[0][:i].encode())
    return texts[0], [[at(a), at(b)] for a, b in spans[0]] if spans else []
