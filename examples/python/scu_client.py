"""A client of the SCU API in one file. It needs requests and nothing else."""

import time
from pathlib import Path

import requests


class SCUError(Exception):
    """What the server refused. `code` is for programs, `hint` says what to do."""

    def __init__(self, error):
        self.code, self.field, self.hint = error["code"], error.get("field"), error.get("hint")
        where = f"{self.field}: " if self.field else ""
        super().__init__(f"{where}{error['message']}" + (f" ({self.hint})" if self.hint else ""))


class SCUClient:
    def __init__(self, api_url="http://localhost:8000", api_key=None):
        self.api_url = api_url.rstrip("/")
        self.session = requests.Session()
        if api_key:
            self.session.headers["Authorization"] = f"Bearer {api_key}"

    def _call(self, method, path, **kwargs):
        response = self.session.request(method, self.api_url + path, **kwargs)
        if not response.ok:
            raise SCUError(response.json()["error"])
        return response

    def upload(self, path):
        """Uploads a data file; its id stands for it in a job."""
        with open(path, "rb") as file:
            return self._call("POST", "/files", files={"file": file}).json()["id"]

    def submit_training_job(self, base_model, train_data, val_data=None, target_s=None, config_overrides=None,
                            priority=0, wait=False, poll_interval=1):
        """Submits a job. train_data is a local file, a file's id, a path on the server or a URL, or
        a dict of several of them, each with the relative weight of its tokens (None for all: each is
        read once)."""
        job = self._call("POST", "/jobs/submit", json={
            "base_model": base_model,
            **self._data(train_data),
            "val_data_path": self._named(val_data) if val_data else None,
            "target_s": target_s,
            "config_overrides": config_overrides or {},
            "priority": priority,
        }).json()
        if wait:
            self.wait(job["job_id"], poll_interval)
        return job

    def _data(self, data):
        if not isinstance(data, dict):
            return {"train_data_path": self._named(data)}
        return {"train_data": [{"path": self._named(path), "share": share} for path, share in data.items()]}

    def _named(self, data):
        return self.upload(data) if Path(data).is_file() else str(data)

    def wait(self, job_id, poll_interval=1):
        """Waits for the job's end and returns its status; raises if it failed or was cancelled."""
        while True:
            status = self.get_job_status(job_id)
            if status["status"] == "completed":
                return status
            if status["status"] in ("failed", "cancelled"):
                raise RuntimeError(f"job {job_id} {status['status']}: {status.get('error_message')}")
            time.sleep(poll_interval)

    def get_job_status(self, job_id):
        return self._call("GET", f"/jobs/{job_id}/status").json()

    def get_job(self, job_id):
        """Everything known of a job: its settings, data, and, once it has one, its adapter."""
        return self._call("GET", f"/jobs/{job_id}").json()

    def get_training_metrics(self, job_id):
        """Yields the metrics of each step so far, page by page."""
        after = 0  # steps count from 1
        while True:
            page = self._call("GET", f"/jobs/{job_id}/metrics", params={"after": after}).json()
            yield from page["metrics"]
            if not page["has_more"]:
                return
            after = page["next"]

    def list_jobs(self, status=None, limit=50):
        params = {"limit": limit} | ({"status": status} if status else {})
        return self._call("GET", "/jobs", params=params).json()["jobs"]

    def cancel_job(self, job_id):
        return self._call("POST", f"/jobs/{job_id}/cancel").json()

    def get_adapter(self, job_id, output_dir="."):
        """Downloads the adapter, a zip with PEFT's files, and returns its path."""
        path = Path(output_dir) / f"{job_id}_adapter.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._call("GET", f"/jobs/{job_id}/adapter", stream=True) as response, open(path, "wb") as file:
            for chunk in response.iter_content(1 << 20):
                file.write(chunk)
        return path

    def health_check(self):
        try:
            return self.session.get(self.api_url + "/health", timeout=5).ok
        except requests.RequestException:
            return False
