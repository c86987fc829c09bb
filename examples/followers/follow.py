"""Follows a job and tells W&B, trackio or MLflow each of its steps as it is made.

usage: follow.py {wandb,trackio,mlflow,print} JOB [PROJECT]

It may be started before the job runs, while it does, or after its end, and again after it was ended: it goes on after
the last step that the target has. PROJECT is "scu" by default; MLflow calls it an experiment. The server is
SCU_API_URL, with SCU_API_KEY if it asks for a key."""

import os
import sys

from sse import ENDED, Service
from targets import TARGETS


def main(target, named, project="scu"):
    service = Service(os.environ.get("SCU_API_URL", "http://127.0.0.1:8000"), os.environ.get("SCU_API_KEY"))
    job = service.job(named.removeprefix("ftjob-"))
    run = TARGETS[target](job, project)
    for name, data in service.follow(job["job_id"], run.last):
        if name == "metrics":
            run.log(data)
        elif data["status"] in ENDED:
            run.end(data["status"])


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[1] not in TARGETS:
        sys.exit(__doc__)
    main(*sys.argv[1:])
