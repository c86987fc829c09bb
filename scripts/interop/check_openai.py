"""Drives a running server through OpenAI's own Python package, answers validated strictly.

usage: check_openai.py API_URL TRAIN_FILE

Files, fine-tuning jobs with their events, checkpoints and results, models, completions and chat on the base model
and on the trained adapter, streams and a stream that is left; and what is refused, with the client's own classes of
errors and without its retries. SCU_API_KEY is sent when set. Prints one line of JSON, or fails with a traceback.
"""
import io
import json
import os
import sys
import threading
import time
import zipfile

import openai
from openai import OpenAI

BASE = "bookworm-2m"


def refused(kind, call, code=None, param=None):
    """call must be refused by an error of a class of the client's, and be sent once."""
    try:
        call()
    except kind as e:
        assert e.type == "invalid_request_error", e.type
        assert code is None or e.code == code, (e.code, code)
        assert param is None or e.param == param, (e.param, param)
        assert e.request_id, "no x-request-id"
        return e
    raise AssertionError(f"not refused: {code} {param}")


def check_files(c, path):
    content = open(path, "rb").read()
    f = c.files.create(file=open(path, "rb"), purpose="fine-tune")
    assert f.bytes == len(content) and f.filename == os.path.basename(path)
    assert c.files.wait_for_processing(f.id).status == "processed"
    assert f.id in [x.id for x in c.files.list(purpose="fine-tune")]
    assert f.id in [x.id for x in c.files.list(limit=1, order="asc")]  # page by page
    assert c.files.retrieve(f.id) == f
    assert c.files.content(f.id).read() == content
    other = c.files.create(file=("other.txt", b"Another text.\n"), purpose="user_data")
    assert c.files.delete(other.id).deleted
    refused(openai.NotFoundError, lambda: c.files.retrieve(other.id))
    refused(openai.BadRequestError, lambda: c.files.create(file=b"x", purpose="assistants"), "unsupported", "purpose")
    refused(openai.BadRequestError, lambda: c.files.create(file=b"x", purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 3600}), "unsupported")
    return f


def wait(c, job):
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        j = c.fine_tuning.jobs.retrieve(job)
        if j.status not in ("validating_files", "queued", "running"):
            return j
        time.sleep(0.2)
    raise AssertionError(f"{job} did not end")


def check_job(c, f):
    j = c.fine_tuning.jobs.create(
        model=BASE, training_file=f.id, suffix="keeper", seed=7, metadata={"team": "x"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 1.5}}},
        extra_body={"target_s": 0.02, "config_overrides": {"block_size": 128}})
    assert j.id.startswith("ftjob-") and j.model == BASE and j.training_file == f.id
    j = wait(c, j.id)
    assert j.status == "succeeded", j
    assert j.fine_tuned_model and j.trained_tokens and j.seed == 7 and j.metadata == {"team": "x"}
    hp = j.method.supervised.hyperparameters
    assert hp.n_epochs == 2 and isinstance(hp.batch_size, int) and hp.learning_rate_multiplier == 1.5, hp

    events = list(c.fine_tuning.jobs.list_events(j.id, limit=3))  # page by page
    steps = [e.data["step"] for e in events if e.type == "metrics"]
    assert steps == list(range(len(steps), 0, -1)) and steps, steps
    assert len({e.id for e in events}) == len(events)
    assert events[-1].message == f"Created fine-tuning job: {j.id}", events[-1]
    assert events[0].message == "The job has successfully completed", events[0]
    assert [e.id for e in c.fine_tuning.jobs.list_events(j.id, limit=1000)] == [e.id for e in events]

    assert j.id in [x.id for x in c.fine_tuning.jobs.list(limit=1, metadata={"team": "x"})]
    assert j.id not in [x.id for x in c.fine_tuning.jobs.list(metadata={"team": "y"})]
    rows = c.files.content(j.result_files[0]).text.splitlines()
    assert rows[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,"), rows[0]
    assert len(rows) == len(steps) + 1
    table, adapter = [c.files.retrieve(r) for r in j.result_files]
    assert table.purpose == "fine-tune-results" and table.bytes == len(c.files.content(table.id).read())
    with zipfile.ZipFile(io.BytesIO(c.files.content(adapter.id).read())) as z:
        assert "adapter_model.safetensors" in z.namelist()
    kept = list(c.fine_tuning.jobs.checkpoints.list(j.id, limit=1))
    assert kept and kept[0].step_number >= kept[-1].step_number and kept[0].metrics.train_loss

    refused(openai.BadRequestError, lambda: c.fine_tuning.jobs.cancel(j.id), "job_ended")
    for bad, param in [
        ({"training_file": "file-none"}, "training_file"),
        ({"method": {"type": "dpo"}}, "method.type"),
        ({"model": "./nope"}, "model"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"suffix": "no spaces"}, "suffix"),
        ({"hyperparameters": {"n_epochs": -1}}, "hyperparameters.n_epochs"),
        ({"method": {"type": "supervised", "supervised": {"hyperparameters": {"batch_size": 0}}}}, "method.supervised.hyperparameters.batch_size"),
        ({"extra_body": {"targets": 1}}, "targets"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
    ]:
        refused((openai.BadRequestError, openai.NotFoundError), lambda: c.fine_tuning.jobs.create(**{"model": BASE, "training_file": f.id, **bad}), None, param)
    return j


def check_cancel(c, f):
    j = c.fine_tuning.jobs.create(model=BASE, training_file=f.id, extra_body={"steps": 100_000})
    assert c.fine_tuning.jobs.pause(j.id).status == "queued"  # the client has no word for it
    assert c.fine_tuning.jobs.list_events(j.id, limit=1).data[0].message == "Paused"
    assert c.fine_tuning.jobs.resume(j.id).status == "queued"
    assert c.fine_tuning.jobs.cancel(j.id).status == "cancelled"
    assert c.fine_tuning.jobs.cancel(j.id).status == "cancelled"  # twice is once
    refused(openai.BadRequestError, lambda: c.fine_tuning.jobs.resume(j.id), "job_ended")
    # the same request under the same key is one job, though the client doesn't send a key of its own
    keyed = [c.fine_tuning.jobs.create(model=BASE, training_file=f.id, extra_body={"steps": 1}, extra_headers={"Idempotency-Key": "check-openai-" + j.id}) for _ in range(2)]
    assert keyed[0].id == keyed[1].id
    return wait(c, keyed[0].id)


def check_models(c, j):
    models = [m.id for m in c.models.list()]
    assert BASE in models and j.fine_tuned_model in models
    assert c.models.retrieve(j.fine_tuned_model).id == j.fine_tuned_model
    for k in c.fine_tuning.jobs.checkpoints.list(j.id):
        assert c.models.retrieve(k.fine_tuned_model_checkpoint).id == k.fine_tuned_model_checkpoint
    refused(openai.NotFoundError, lambda: c.models.retrieve("no/such-model"), "model_not_found")
    refused(openai.PermissionDeniedError, lambda: c.models.delete(BASE))


def check_completions(c, model):
    """The text that a model gives, greedily."""
    ask = dict(model=model, prompt="The keeper", max_tokens=12, temperature=0)
    r = c.completions.create(**ask)
    assert r.model == model and r.choices[0].finish_reason in ("stop", "length")
    assert r.usage.prompt_tokens > 0 and r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    # A chunk before the last one has no finish_reason, which the client's type for it doesn't allow: OpenAI's own don't pass either.
    loose = OpenAI(base_url=c.base_url, api_key=c.api_key)
    chunks = list(loose.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    assert "".join(k.choices[0].text for k in chunks if k.choices) == r.choices[0].text
    assert chunks[-1].usage == r.usage and not chunks[-1].choices
    assert [k.choices[0].finish_reason for k in chunks if k.choices and k.choices[0].finish_reason] == [r.choices[0].finish_reason]
    assert c.completions.create(**ask, echo=True).choices[0].text == "The keeper" + r.choices[0].text

    several = c.completions.create(model=model, prompt=["The keeper", "The lamp"], n=2, max_tokens=4, seed=1)
    assert [k.index for k in several.choices] == [0, 1, 2, 3]
    assert several.choices == c.completions.create(model=model, prompt=["The keeper", "The lamp"], n=2, max_tokens=4, seed=1).choices
    probed = c.completions.create(**ask, logprobs=2).choices[0].logprobs
    assert len(probed.tokens) == len(probed.token_logprobs) == len(probed.top_logprobs) == len(probed.text_offset) and max(probed.token_logprobs) <= 0
    stop = r.choices[0].text[len(r.choices[0].text) // 2:][:2]
    stopped = c.completions.create(**ask, stop=[stop]).choices[0]
    assert stop not in stopped.text and stopped.finish_reason == "stop"
    return r.choices[0].text


def check_chat(c, model):
    ask = dict(model=model, messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "What is a lighthouse for?"}], max_completion_tokens=12, temperature=0)
    r = c.chat.completions.create(**ask)
    assert r.choices[0].message.role == "assistant" and r.choices[0].message.content
    chunks = list(c.chat.completions.create(**ask, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(k.choices[0].delta.content or "" for k in chunks) == r.choices[0].message.content
    with c.chat.completions.stream(**ask) as s:  # the client's own helper
        assert "".join(e.delta for e in s if e.type == "content.delta") == r.choices[0].message.content
    probed = c.chat.completions.create(**ask, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert len(probed) == r.usage.completion_tokens and all(len(t.top_logprobs) == 2 for t in probed)
    refused(openai.BadRequestError, lambda: c.chat.completions.create(**ask, tools=[{"type": "function", "function": {"name": "f"}}]), "unsupported", "tools")
    refused(openai.BadRequestError, lambda: c.chat.completions.create(model=model, messages=[]), None, "messages")


def check_leaving(c, model):
    """Who leaves a stream stops it: the next request doesn't wait for its end."""
    for _ in range(3):
        for _ in c.chat.completions.create(model=model, messages=[{"role": "user", "content": "Go on."}], max_tokens=100_000, stream=True):
            break
    begin = time.monotonic()
    c.completions.create(model=model, prompt="The keeper", max_tokens=1)
    return time.monotonic() - begin


def check_two(c, models, texts):
    """Clients at once get each what they get alone."""
    got, threads = {}, []
    for i, model in enumerate(models * 3):
        def ask(i=i, model=model):
            got[i] = c.completions.create(model=model, prompt="The keeper", max_tokens=12, temperature=0).choices[0].text
        threads.append(threading.Thread(target=ask))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [got[i] for i in range(len(threads))] == texts * 3


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    url, train = sys.argv[1:]
    key = os.environ.get("SCU_API_KEY")
    c = OpenAI(base_url=url + "/v1", api_key=key or "none", _strict_response_validation=True)
    if key:
        refused(openai.AuthenticationError, lambda: OpenAI(base_url=url + "/v1", api_key="wrong").models.list(), "invalid_api_key")
    f = check_files(c, train)
    j = check_job(c, f)
    check_cancel(c, f)
    check_models(c, j)
    texts = [check_completions(c, model) for model in (BASE, j.fine_tuned_model)]
    assert texts[0] != texts[1], "the adapter changes nothing"
    for model in (BASE, j.fine_tuned_model):
        check_chat(c, model)
    left = check_leaving(c, BASE)
    check_two(c, [BASE, j.fine_tuned_model], texts)
    again = c.fine_tuning.jobs.create(model=j.fine_tuned_model, training_file=f.id, extra_body={"steps": 1, "config_overrides": {"block_size": 128}})
    again = wait(c, again.id)
    assert again.status == "succeeded", again
    assert c.models.delete(again.fine_tuned_model).deleted
    refused(openai.NotFoundError, lambda: c.fine_tuning.jobs.retrieve(again.id))
    assert c.files.delete(f.id).deleted
    print(json.dumps({"openai": openai.__version__, "job": j.id, "model": j.fine_tuned_model, "base": texts[0], "adapter": texts[1], "after_leaving_s": round(left, 3)}))


if __name__ == "__main__":
    main()
