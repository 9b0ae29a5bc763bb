"""A service in this process, with its server and workers in threads, for tests of its interface."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import http.client
import json
import socket
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from small_audit import calibrate_by_hand, make_library, save_small_extractor

from auditor.api.scan import scan
from auditor.serve import server as server_module
from auditor.serve.app import make_app
from auditor.serve.pool import worker_options
from auditor.serve.service import Service
from auditor.serve.settings import Settings
from auditor.serve.worker import CheckWorker
from auditor.workspace import open_workspace


class ThreadLink:
    """A worker that is a thread; what it does is what the process does."""

    def __init__(self, settings):
        self._executor = ThreadPoolExecutor(1)
        self._stack = contextlib.ExitStack()
        self._loop = asyncio.get_running_loop()
        self._on_stage = None
        self._settings = settings

    def _open(self):
        options = worker_options(self._settings)
        workspace = self._stack.enter_context(
            open_workspace(options.workspace, extractor=options.extractor, write=False)
        )
        self._worker = CheckWorker(workspace, options, self._tell)

    def _tell(self, stage):
        asyncio.run_coroutine_threadsafe(self._on_stage(stage), self._loop)

    async def open(self):
        await self._loop.run_in_executor(self._executor, self._open)
        return self

    async def ask(self, task, *, limit_s, on_stage):
        self._on_stage = on_stage
        return await self._loop.run_in_executor(self._executor, self._worker.do, dict(task))

    async def close(self):
        await self._loop.run_in_executor(self._executor, self._stack.close)
        self._executor.shutdown(wait=False)


async def start_thread(settings):
    return await ThreadLink(settings).open()


def make_workspace(folder: Path, *, seeds=None) -> Path:
    """Make a workspace with the library of ``small_audit``; return the weights of its extractor."""
    weights = save_small_extractor(folder / "weights")
    music = make_library(folder / "music")
    with open_workspace(folder / "ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(folder / "ws", opened.weights_id)
        scan(opened, [music])
    return weights


class RunningService:
    """A service that runs from the beginning of a ``with`` to its end.

    Attributes
    ----------
    service : Service
    port : int
    """

    def __init__(self, settings: Settings, *, start_worker=start_thread):
        self.settings, self._start_worker = settings, start_worker

    def __enter__(self):
        self.service = Service(self.settings, start_worker=self._start_worker)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            make_app(self.service),
            http=server_module.TimedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            timeout_graceful_shutdown=5,
        )
        self._server = server_module.DrainingServer(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[self._socket])), daemon=True
        )
        self._thread.start()
        self.wait_until_ready()
        return self

    def __exit__(self, *_exc):
        self._server.should_exit = True
        self._thread.join(60)
        self._socket.close()
        assert not self._thread.is_alive()

    def wait_until_ready(self):
        for _ in range(600):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/readyz").status == 200:
                    return
            threading.Event().wait(0.05)
        raise AssertionError("the service is not ready")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, target, body=None, headers=None, key="", timeout=60.0):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        given = dict(headers or {})
        if key:
            given["Authorization"] = f"Bearer {key}"
        try:
            connection.request(method, target, body=body, headers=given)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, target, **how):
        return self.request("GET", target, **how)

    def send_json(self, method, target, body, **how):
        headers = {"Content-Type": "application/json", **how.pop("headers", {})}
        return self.request(method, target, json.dumps(body), headers, **how)

    def post_file(self, path, *, wait=60, name=None, headers=None, key="", **fields):
        """Send a file, and wait for its end."""
        data, kind = form(Path(path).read_bytes(), name or Path(path).name, fields)
        headers = {"Content-Type": kind, **(headers or {})}
        return self.request(
            "POST", f"/v1/checks?wait={wait}", data, headers, key=key, timeout=120.0
        )


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def form(data, name, fields):
    """Return the bytes of a form with a file, and its content type."""
    parts = b"".join(
        f'--XX\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{value}\r\n'.encode()
        for field, value in fields.items()
    )
    head = f'--XX\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return parts + head.encode() + data + b"\r\n--XX--\r\n", "multipart/form-data; boundary=XX"


def track_rows(workspace: Path):
    """Return id, path and hash of the tracks of a catalogue."""
    with contextlib.closing(sqlite3.connect(workspace / "catalogue.sqlite3")) as connection:
        return connection.execute("SELECT id, path, sha256 FROM tracks ORDER BY id").fetchall()
