"""A job's live events, read with the standard library alone."""

import http.client
import json
import time
import urllib.error
import urllib.request

ENDED = ("completed", "failed", "cancelled")


class Service:
    """The server, as a follower needs it."""

    def __init__(self, url, key=None):
        self.url = url.rstrip("/")
        self.headers = {"Authorization": "Bearer " + key} if key else {}

    def job(self, job):
        """The job's record, with its settings."""
        with self._open(f"/jobs/{job}") as answer:
            return json.load(answer)

    def follow(self, job, last=0):
        """Yields ("metrics", step) for every step above last, once and in order, and ("status", state) at each change
        of the job, until it has ended. A connection that breaks off is made again from the last step that came: the
        server takes its number as Last-Event-ID. A step that a later attempt of the job trains again has the same
        figures as before, and is left out."""
        wait = 0.2
        while True:
            try:
                with self._open(f"/jobs/{job}/events", {"Accept": "text/event-stream", "Last-Event-ID": str(last)}) as stream:
                    for name, data in events(stream):
                        wait = 0.2
                        if name == "metrics":
                            if data["step"] <= last:
                                continue
                            last = data["step"]
                        yield name, data
                        if name == "status" and data["status"] in ENDED:
                            return
            except (OSError, http.client.HTTPException) as e:
                if isinstance(e, urllib.error.HTTPError) and e.code < 500 and e.code != 429:  # others pass
                    raise SystemExit(f"{job}: {json.load(e)['error']['message']}") from e
            time.sleep(wait)
            wait = min(10, 2 * wait)

    def _open(self, path, headers=None):
        # The server sends a sign of life each 15 seconds: a minute without one is a dead connection.
        request = urllib.request.Request(self.url + path, headers={**self.headers, **(headers or {})})
        return urllib.request.urlopen(request, timeout=60)


def events(stream):
    """The whole events of a stream, by name, their data parsed; one that breaks off in the middle is none."""
    name = data = ""
    for line in stream:
        if not line.endswith(b"\n"):
            return
        line = line.decode().rstrip("\r\n")
        if not line:
            if data:
                yield name, json.loads(data)
            name = data = ""
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            data += line[6:]
