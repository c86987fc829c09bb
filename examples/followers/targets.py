"""Where steps go. Each target has the same four: the last step that it has, a step, the end; and begins with the job.

W&B's and trackio's calls are those of their quickstarts (init, log, finish), MLflow's those of MlflowClient. Settings
are theirs too: WANDB_API_KEY, WANDB_MODE, TRACKIO_DIR, MLFLOW_TRACKING_URI, ..."""

import json
import subprocess
import sys
from datetime import datetime

# What a step tells beside its figures.
ASIDE = ("job_id", "attempt", "step", "total_steps", "timestamp", "eta_minutes")


def figures(step):
    return {k: v for k, v in step.items() if k not in ASIDE and isinstance(v, (int, float))}


def flat(settings, prefix=""):
    """{"lora": {"r": 8}} as {"lora.r": 8}."""
    out = {}
    for name, v in settings.items():
        if isinstance(v, dict) and not name.endswith("_pattern"):
            out.update(flat(v, prefix + name + "."))
        else:
            out[prefix + name] = v
    return out


def tags(job):
    """What is said of a job besides its settings."""
    return {"scu.job": job["job_id"], "scu.base_model": job["base_model"], "scu.data": job["train_data"]["name"], **(job.get("metadata") or {})}


class Print:
    """Lines of JSON, to try it out."""

    def __init__(self, job, project):
        self.last = 0
        self._say({"run": job.get("name") or job["job_id"], "project": project, "config": flat(job["config"]), "tags": tags(job)})

    def log(self, step):
        self._say({"step": step["step"], **figures(step)})

    def end(self, status):
        self._say({"end": status})

    def _say(self, line):
        print(json.dumps(line), flush=True)


class Wandb:
    """Goes on with a run of the job's id; W&B leaves out steps that it has. Without a connection (WANDB_MODE=offline) a
    follower that is started again writes the run from its first step into a folder of its own."""

    def __init__(self, job, project):
        import wandb
        self.run = wandb.init(project=project, id=job["job_id"], name=job.get("name") or job["job_id"], resume="allow",
                              config=flat(job["config"]), tags=[f"{k}:{v}"[:64] for k, v in tags(job).items()], job_type="fine-tune")
        self.last = max(0, self.run.step - 1)

    def log(self, step):
        self.run.log(figures(step), step=step["step"])

    def end(self, status):
        self.run.summary["status"] = status
        self.run.finish(exit_code=0 if status == "completed" else 1)


class Trackio:
    """trackio has no tags: they are settings here."""

    def __init__(self, job, project):
        import trackio
        name = f"{job.get('name') or 'job'}-{job['job_id']}"
        known = subprocess.run([sys.executable, "-m", "trackio.cli", "get", "run", "--project", project, "--run", name, "--json"],
                               capture_output=True, text=True, check=False)
        self.last = (json.loads(known.stdout).get("last_step") or 0) if known.returncode == 0 else 0
        self.run = trackio.init(project=project, name=name, resume="allow", config={**flat(job["config"]), **tags(job)})

    def log(self, step):
        self.run.log(figures(step), step=step["step"])

    def end(self, status):
        self.run.finish()


class Mlflow:
    """A run is found by its tag scu.job."""

    def __init__(self, job, project):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param, RunTag
        self.Metric = Metric
        self.client = MlflowClient()
        experiment = self.client.get_experiment_by_name(project)
        experiment = experiment.experiment_id if experiment else self.client.create_experiment(project)
        runs = self.client.search_runs([experiment], f"tags.`scu.job` = '{job['job_id']}'")
        if runs:
            self.run = runs[0].info.run_id
            self.last = max((m.step for m in self.client.get_metric_history(self.run, "loss")), default=0)
            return
        self.last = 0
        self.run = self.client.create_run(experiment, run_name=job.get("name") or job["job_id"], tags={k: str(v) for k, v in tags(job).items()}).info.run_id
        settings = [Param(k, str(v)) for k, v in flat(job["config"]).items()]
        for i in range(0, len(settings), 100):  # so many a call
            self.client.log_batch(self.run, params=settings[i:i + 100])

    def log(self, step):
        at = int(datetime.fromisoformat(step["timestamp"].replace("Z", "+00:00")).timestamp() * 1000)
        self.client.log_batch(self.run, metrics=[self.Metric(k, v, at, step["step"]) for k, v in figures(step).items()])

    def end(self, status):
        self.client.set_terminated(self.run, {"completed": "FINISHED", "failed": "FAILED"}.get(status, "KILLED"))


TARGETS = {"print": Print, "wandb": Wandb, "trackio": Trackio, "mlflow": Mlflow}
