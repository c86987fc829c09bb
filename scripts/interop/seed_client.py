"""Drives a running server the way the Python client of the original design does, and checks what it reads.

usage: seed_client.py API_URL BASE_MODEL TRAIN_FILE OUT_DIR

The client below sends the requests that existing scripts send and reads the fields that they read; nothing
in it knows of this project, but that the metrics come over HTTP, where the original opened a file of the server's.
The checks around it: a job submitted with wait completes, is listed with the columns of the original's CLI, tells
every step, and its adapter arrives in OUT_DIR under the name the server gives; a second job is cancelled in the
middle; an unknown job is refused. TRAIN_FILE is a path the server may read (or an upload's id). SCU_API_KEY is sent when set.

Prints one line of JSON (job_id, adapter, cancelled) and exits with 0, or says what did not match and exits with 1.
"""
import csv
import json
import math
import os
import sys
import time
import zipfile
from datetime import datetime
from pathlib import Path

import requests

STATES = {"queued", "running", "completed", "failed", "cancelled"}
ADAPTER_FILES = {"adapter_config.json", "adapter_model.safetensors", "training_config.json"}
METRIC_COLUMNS = ["step", "data_bpt", "param_bpt", "s_ratio", "lambda", "loss", "lr", "tokens_per_sec"]  # then ours
DEADLINE_S = 300


class Mismatch(Exception):
    """The server answered something the client's users don't expect."""


def require(ok, message):
    if not ok:
        raise Mismatch(message)


class Client:
    def __init__(self, api_url, api_key=None):
        self.api_url = api_url.rstrip("/")
        self.session = requests.Session()
        if api_key:
            self.session.headers["Authorization"] = f"Bearer {api_key}"

    def call(self, method, path, **kwargs):
        response = self.session.request(method, self.api_url + path, timeout=30, **kwargs)
        response.raise_for_status()
        return response

    def healthy(self):
        try:
            return self.call("GET", "/health").json()["status"] == "healthy"
        except requests.RequestException:
            return False

    def submit(self, base_model, train_data, val_data=None, target_s=0.01, config_overrides=None, priority=0, wait=False, poll_s=0.2):
        """The answer to the submission; with wait, once the job has completed."""
        submitted = self.call("POST", "/jobs/submit", json={
            "base_model": base_model,
            "train_data_path": str(train_data),
            "val_data_path": str(val_data) if val_data else None,
            "target_s": target_s,
            "config_overrides": config_overrides or {},
            "priority": priority,
        }).json()
        if wait:
            ended = self.wait(submitted["job_id"], poll_s)
            if ended["status"] != "completed":
                raise Mismatch(f"job {submitted['job_id']} {ended['status']}: {ended.get('error_message')}")
        return submitted

    def wait(self, job_id, poll_s=0.2):
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            status = self.status(job_id)
            if status["status"] in ("completed", "failed", "cancelled"):
                return status
            print(f"{job_id}: {status['status']} {status.get('progress_percent', 0):.1f}%", file=sys.stderr)
            time.sleep(poll_s)
        raise Mismatch(f"job {job_id} did not end within {DEADLINE_S} s")

    def status(self, job_id):
        return self.call("GET", f"/jobs/{job_id}/status").json()

    def jobs(self, status=None, limit=50):
        params = {"limit": limit}
        if status:
            params["status"] = status
        return self.call("GET", "/jobs", params=params).json()

    def cancel(self, job_id):
        return self.call("POST", f"/jobs/{job_id}/cancel").json()

    def metrics(self, job_id):
        """Yields a dictionary of strings for each step."""
        with self.call("GET", f"/jobs/{job_id}/metrics.csv", stream=True) as response:
            yield from csv.DictReader(response.iter_lines(decode_unicode=True))

    def download(self, job_id, out_dir):
        """Stores the adapter under the name in Content-Disposition, read as simply as existing clients read it."""
        out_dir.mkdir(parents=True, exist_ok=True)
        response = self.call("GET", f"/jobs/{job_id}/adapter", stream=True)
        disposition = response.headers.get("content-disposition", "")
        require("filename=" in disposition, f"adapter: Content-Disposition {disposition!r} names no file")
        name = disposition.split("filename=")[-1].strip().strip('"')
        require(name == f"{job_id}_adapter.zip", f"adapter: the file is called {name!r}")
        with open(out_dir / name, "wb") as f:
            for chunk in response.iter_content(chunk_size=8192):
                f.write(chunk)
        return out_dir / name


def check_time(value, what):
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Mismatch(f"{what} is {value!r}, not an ISO 8601 time") from None


def check_status(status, job_id):
    """Every field of the status answer is there, with its type."""
    expected = {"job_id", "status", "created_at", "started_at", "completed_at", "progress_percent", "adapter_path", "error_message"}
    require(expected <= status.keys(), f"status: no {sorted(expected - status.keys())}")
    require(status["job_id"] == job_id, f"status of {job_id} is about {status['job_id']}")
    require(status["status"] in STATES, f"status is {status['status']!r}")
    require(isinstance(status["progress_percent"], (int, float)) and 0 <= status["progress_percent"] <= 100,
            f"progress_percent is {status['progress_percent']!r}")
    check_time(status["created_at"], "created_at")
    for key in ("started_at", "completed_at"):
        if status[key] is not None:
            check_time(status[key], key)


def check_submitted(submitted):
    require(isinstance(submitted.get("job_id"), str) and submitted["job_id"], f"submit: job_id is {submitted.get('job_id')!r}")
    require(submitted.get("status") == "queued", f"submit: status is {submitted.get('status')!r}, not 'queued'")
    require(isinstance(submitted.get("message"), str), f"submit: message is {submitted.get('message')!r}")


def check_listed(client, job_id, status, base_model):
    answer = client.jobs(status=status)
    require(answer["count"] == len(answer["jobs"]), f"list: count is {answer['count']} for {len(answer['jobs'])} jobs")
    require(all(job["status"] == status for job in answer["jobs"]), f"list: not only {status} jobs when asked for them")
    found = [job for job in answer["jobs"] if job["job_id"] == job_id]
    require(len(found) == 1, f"list: {status} job {job_id} is there {len(found)} times")
    require(found[0]["base_model"] == base_model, f"list: base_model is {found[0]['base_model']!r}, not {base_model!r}")
    check_time(found[0]["created_at"], "list: created_at")
    check_row(found[0])
    require(len(client.jobs(limit=1)["jobs"]) == 1, "list: limit=1 does not give one job")


def check_row(job):
    """The list's fields that the original's CLI prints, as it cuts them."""
    row = f"{job['job_id']:<10} {job['base_model'].split('/')[-1][:28]:<30} {job['status']:<12} {job['created_at'][:19]:<20}"
    require(row.split()[0] == job["job_id"] and "T" in row.split()[-1], f"list: a row reads {row!r}")


def check_metrics(client, job_id, steps):
    rows = list(client.metrics(job_id))
    require([row["step"] for row in rows] == [str(step) for step in range(1, steps + 1)], f"metrics: steps {[row['step'] for row in rows]}")
    for row in rows:
        require(list(row)[:len(METRIC_COLUMNS)] == METRIC_COLUMNS, f"metrics: the columns are {list(row)}")
        require(all(math.isfinite(float(row[name])) for name in METRIC_COLUMNS), f"metrics: {row}")
        require(float(row["tokens_per_sec"]) > 0, f"metrics: {row['tokens_per_sec']} tokens a second")


def check_refused(request, code, what):
    try:
        request()
    except requests.HTTPError as e:
        require(e.response.status_code == code, f"{what}: HTTP {e.response.status_code}, not {code}")
    else:
        raise Mismatch(f"{what}: not refused")


def completed_job(client, base_model, train_file, out_dir):
    submitted = client.submit(base_model, train_file, config_overrides={"steps": 2, "block_size": 128, "lora": {"r": 2, "alpha": 4}}, wait=True)
    check_submitted(submitted)
    job_id = submitted["job_id"]

    status = client.status(job_id)
    check_status(status, job_id)
    require(status["progress_percent"] == 100, f"completed at {status['progress_percent']}%")
    for key in ("started_at", "completed_at", "adapter_path"):
        require(status[key], f"completed, and {key} is {status[key]!r}")
    require(not status["error_message"], f"completed, and error_message is {status['error_message']!r}")
    check_listed(client, job_id, "completed", base_model)
    check_metrics(client, job_id, steps=2)

    adapter = client.download(job_id, out_dir)
    with zipfile.ZipFile(adapter) as z:
        require(z.testzip() is None, f"{adapter} is damaged")
        require(ADAPTER_FILES <= set(z.namelist()), f"{adapter} lacks {sorted(ADAPTER_FILES - set(z.namelist()))}")
    return job_id, adapter


def cancelled_job(client, base_model, train_file):
    job_id = client.submit(base_model, train_file, config_overrides={"steps": 100_000, "block_size": 128})["job_id"]
    check_status(client.status(job_id), job_id)  # known at once, whatever it is doing
    check_refused(lambda: client.call("GET", f"/jobs/{job_id}/adapter"), 404, "adapter of an unfinished job")
    require("message" in client.cancel(job_id), "cancel: no message")
    status = client.wait(job_id)
    check_status(status, job_id)
    require(status["status"] == "cancelled", f"a cancelled job ended as {status['status']}")
    check_listed(client, job_id, "cancelled", base_model)
    return job_id


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    api_url, base_model, train_file, out_dir = sys.argv[1:]
    client = Client(api_url, os.environ.get("SCU_API_KEY"))
    try:
        require(client.healthy(), f"{api_url} is not healthy")
        job_id, adapter = completed_job(client, base_model, train_file, Path(out_dir))
        cancelled = cancelled_job(client, base_model, train_file)
        check_refused(lambda: client.status("no-such-job"), 404, "status of an unknown job")
    except requests.HTTPError as e:
        sys.exit(f"seed_client: {e}: {e.response.text[:500]}")
    except (Mismatch, requests.RequestException, zipfile.BadZipFile) as e:
        sys.exit(f"seed_client: {e}")
    except KeyError as e:
        sys.exit(f"seed_client: an answer has no field {e}")
    print(json.dumps({"job_id": job_id, "adapter": str(adapter), "cancelled": cancelled}))


if __name__ == "__main__":
    main()
