"""The service as a process of its own, which a test starts, kills and starts again."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from auditor.serve.client import Client

ROOT = Path(__file__).parents[2]


class ServiceProcess:
    """``audit serve`` on a workspace.

    Parameters
    ----------
    workspace, weights : pathlib.Path
        ``weights`` may be None for the default extractor.
    *options
        Further words of the command.

    Attributes
    ----------
    url : str
    pid : int
    ready_s : float
        Seconds from the start of the process until it was ready.
    """

    def __init__(self, workspace, weights, *options):
        self.workspace, self._options = Path(workspace), [str(word) for word in options]
        self._extractor = [] if weights is None else ["--extractor", str(weights)]
        self._process = None
        self.log = self.workspace.parent / f"{self.workspace.name}.log"

    def start(self, *, wait=True):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        started = time.monotonic()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "auditor", "serve", "--workspace", str(self.workspace)),
                    *("--port", "0", *self._extractor, *self._options),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=self.workspace.parent,
            )
        line = self._process.stdout.readline().decode()
        assert line.startswith("listening at "), self.tail()
        self.url = line.split()[-1]
        self.pid = self._process.pid
        if wait:
            self.wait_until_ready()
            self.ready_s = time.monotonic() - started
        return self

    def wait_until_ready(self, patience_s=300.0):
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.tail()
            if self.status("/readyz") == 200:
                return
            time.sleep(0.02)
        raise AssertionError(self.tail())

    def status(self, target):
        host = self.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=30)) as connection:
            try:
                connection.request("GET", target)
                return connection.getresponse().status
            except OSError:
                return 0

    def workers(self):
        """Return the ids of the processes that the service has started itself."""
        found = []
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{self.pid}/task"):
                text = Path(f"/proc/{self.pid}/task/{task}/children").read_text()
                found += [int(word) for word in text.split()]
        return found

    def kill(self):
        """Kill the service, and nothing else; its workers end with it."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def stop(self):
        """End it as an operator does; return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=120)
        self._process.stdout.close()
        return code

    def memory_mb(self):
        """Return the resident memory of the service and of each worker."""
        return [rss_mb(pid) for pid in (self.pid, *self.workers())]

    def tail(self):
        return self.log.read_text()[-3000:]

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exc):
        if self._process.poll() is None:
            self.kill()

    def client(self, **how):
        return Client(self.url, **how)


def rss_mb(pid):
    """Return the resident memory of a process in MB; None of one that has gone."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return None


class Sampler:
    """Takes the memory of the service and its workers every so many seconds."""

    def __init__(self, service, every_s=1.0):
        self._service, self._every_s = service, every_s
        self.rows = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._end.wait(self._every_s):
            service = self._service
            sizes = [rss_mb(pid) for pid in service.workers()]
            self.rows.append((time.monotonic(), rss_mb(service.pid), [s for s in sizes if s]))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._end.set()
        self._thread.join()
