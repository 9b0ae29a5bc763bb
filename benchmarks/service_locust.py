"""Callers of a service, for locust: each sends a file, waits for its verdict, and sends the next.

``SERVICE_FILES`` is a folder of files; see ``service.py``.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
from pathlib import Path

from locust import HttpUser, task

FILES = sorted(Path(os.environ["SERVICE_FILES"]).iterdir())
TURN = itertools.count(random.Random(1).randrange(len(FILES)))
LOCK = threading.Lock()


class Caller(HttpUser):
    """A caller without pauses."""

    @task
    def check(self):
        with LOCK:
            file = FILES[next(TURN) % len(FILES)]
        with (
            open(file, "rb") as stream,
            self.client.post(
                "/v1/checks?wait=60",
                files={"file": (file.name, stream)},
                name="check",
                catch_response=True,
            ) as answer,
        ):
            if answer.status_code != 200 or answer.json()["state"] != "done":
                answer.failure(f"{answer.status_code} {answer.text[:200]}")
