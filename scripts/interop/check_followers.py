"""Runs examples/followers against the real W&B (offline), trackio (a local folder) and MLflow (SQLite), each on a job that
trains meanwhile, through a connection that is cut again and again, and with the follower killed once; then reads the
run back: every step once, in order, with the job's own figures, its name, settings and tags.

usage: check_followers.py API_URL TRAIN_FILE
"""
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request

STEPS = 150
CUT = 20_000  # bytes of an answer
FOLLOW = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "followers", "follow.py")


class Cutter:
    """Passes connections on, and cuts an answer in the middle, after so many bytes, as often as cuts allow."""

    def __init__(self, to, cuts):
        self.to, self.cuts, self.made, self.passed = to, cuts, 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.to)
            threading.Thread(target=self.copy, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, CUT), daemon=True).start()

    def copy(self, source, sink, most):
        sent = 0
        try:
            while data := source.recv(4096):
                if most and self.made < self.cuts and sent + len(data) > most:
                    sink.sendall(data[:most - sent])
                    self.made += 1
                    break
                sink.sendall(data)
                sent += len(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def ask(url, path, body=None, headers=None):
    headers = {"Content-Type": "application/json", **(headers or {})}
    with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as answer:
        return json.load(answer)


def submit(url, train, name):
    with open(train, "rb") as f:
        boundary = "scu"
        body = b'--scu\r\nContent-Disposition: form-data; name="file"; filename="keeper.txt"\r\n\r\n' + f.read() + b"\r\n--scu--\r\n"
        file = ask(url, "/files", body, {"Content-Type": "multipart/form-data; boundary=" + boundary})
    return ask(url, "/jobs/submit", json.dumps({
        "base_model": "bookworm-2m", "train_data_path": file["id"], "name": name, "metadata": {"team": "x"},
        "config_overrides": {"steps": STEPS, "block_size": 128, "learning_rate": 1e-3, "eval_every": 50, "lora": {"r": 4, "alpha": 8}},
    }).encode())["job_id"]


def steps_of(url, job):
    out, after = [], 0
    while True:
        page = ask(url, f"/jobs/{job}/metrics?after={after}&limit=1000")
        out += page["metrics"]
        if not page.get("has_more"):
            return out
        after = out[-1]["step"]


def follow(cutter, target, job, env):
    """Runs the follower, kills it once it has some of the steps, and runs it again to its end."""
    env = {**os.environ, **env, "SCU_API_URL": cutter.url}
    command = [sys.executable, FOLLOW, target, "ftjob-" + job, "check"]
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while cutter.made < 2 and first.poll() is None:  # two cuts: tens of steps have come
        try:
            first.wait(0.05)
        except subprocess.TimeoutExpired:
            pass
    assert first.poll() is None, first.stderr.read().decode()
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, env=env, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr


def wandb_records(path):
    """The records of an offline run: LevelDB's log format after a header of 7 bytes, which no public reader is for."""
    with open(path, "rb") as f:
        b = f.read()
    at, record = 7, b""
    while at + 7 <= len(b):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = int.from_bytes(b[at + 4:at + 6], "little"), b[at + 6]
        if kind not in (1, 2, 3, 4) or at + 7 + size > len(b):  # what a killed process didn't finish
            return
        record += b[at + 7:at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last of its parts
            yield record
            record = b""


def wandb_runs(folder):
    """The offline runs of a folder."""
    from wandb.proto import wandb_internal_pb2 as pb
    runs = []
    for path in sorted(glob.glob(folder + "/wandb/offline-run-*/*.wandb")):
        run = {"steps": [], "config": {}, "tags": []}
        for data in wandb_records(path):
            record = pb.Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                run.update(id=record.run.run_id, name=record.run.display_name, project=record.run.project)
                run["tags"] = list(record.run.tags)
                run["config"].update({c.key: json.loads(c.value_json) for c in record.run.config.update})
            if record.HasField("history"):
                values = {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.history.item}
                run["steps"].append((record.history.step.num, values["loss"], values.get("val_loss")))
            if record.HasField("exit"):
                run["exit"] = record.exit.exit_code
        runs.append(run)
    return runs


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    url, train = sys.argv[1:]
    to = url.removeprefix("http://").split(":")
    work = tempfile.mkdtemp()
    said = {}
    for target in ("wandb", "trackio", "mlflow"):
        job = submit(url, train, "keeper-" + target)
        cutter = Cutter((to[0], int(to[1])), 5)
        folder = os.path.join(work, target)
        os.mkdir(folder)
        env = {"WANDB_MODE": "offline", "WANDB_DIR": folder, "WANDB_SILENT": "true", "TRACKIO_DIR": folder,
               "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        follow(cutter, target, job, env)
        os.environ.update(env)
        own = steps_of(url, job)
        want = [(m["step"], m["loss"], m.get("val_loss")) for m in own]
        assert len(want) == STEPS, len(want)
        if target == "wandb":
            *_, run = runs = wandb_runs(folder)
            assert run["name"] == "keeper-wandb" and run["id"] == job and run["project"] == "check" and run["exit"] == 0, run
            config, tags = run["config"], run["tags"]
            assert "team:x" in tags and f"scu.job:{job}" in tags, tags
            got = run["steps"]
            half = runs[0]["steps"]
            assert half == want[:len(half)], "the killed follower's"
        elif target == "trackio":
            from trackio import Api
            run, = Api().runs("check")
            config = run.config
            assert run.name == f"keeper-trackio-{job}" and config["team"] == "x" and config["scu.job"] == job, (run, config)
            table = json.loads(subprocess.check_output([sys.executable, "-m", "trackio.cli", "get", "metric", "--project", "check", "--run", run.name, "--metric", "loss", "--json"]))
            vals = json.loads(subprocess.check_output([sys.executable, "-m", "trackio.cli", "get", "metric", "--project", "check", "--run", run.name, "--metric", "val_loss", "--json"]))
            val = {v["step"]: v["value"] for v in vals["values"]}
            got = [(v["step"], v["value"], val.get(v["step"])) for v in table["values"]]
        else:
            from mlflow import MlflowClient
            client = MlflowClient()
            run, = client.search_runs([client.get_experiment_by_name("check").experiment_id])
            config = run.data.params
            assert run.info.run_name == "keeper-mlflow" and run.info.status == "FINISHED", run.info
            assert run.data.tags["team"] == "x" and run.data.tags["scu.job"] == job, run.data.tags
            val = {m.step: m.value for m in client.get_metric_history(run.info.run_id, "val_loss")}
            got = [(m.step, m.value, val.get(m.step)) for m in client.get_metric_history(run.info.run_id, "loss")]
        assert str(config["lora.r"]) == "4" and str(config["steps"]) == str(STEPS), config
        assert got == want, [(a, b) for a, b in zip(got, want) if a != b][:5] or (len(got), len(want))
        said[target] = {"steps": len(got), "cuts": cutter.made}
        print(f"{target}: {len(got)} steps, each once, over {cutter.made} cuts and a kill")
    print(json.dumps(said))


if __name__ == "__main__":
    main()
