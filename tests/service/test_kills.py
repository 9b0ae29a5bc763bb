"""Kills of the service and its workers at random moments: nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from service_process import Sampler, ServiceProcess
from small_service import track_rows

from auditor.serve.client import Client, ServerError
from auditor.serve.webhooks import verify

pytestmark = pytest.mark.service

KILLS = int(os.environ.get("KILLS", "") or 20)
KILLS_IN_ROUND = 20
SOAK = int(os.environ.get("SOAK", "") or 150)
SEED = int(os.environ.get("SEED", "") or 1)
ROUNDS = list(enumerate(range(0, KILLS, KILLS_IN_ROUND)))
N_FILES = 24


class Receiver:
    """Takes webhooks, refuses every third one, and counts them by id and check."""

    def __init__(self):
        self.got = []
        self._n = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                receiver._n += 1
                self.send_response(500 if receiver._n % 3 == 0 else 204)
                self.end_headers()

            def log_message(self, *_words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def checks(self):
        """Return the ids of the webhooks of each check."""
        found = {}
        for headers, body in self.got:
            found.setdefault(json.loads(body)["check"], set()).add(headers["webhook-id"])
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._server.shutdown()
        self._server.server_close()


def send_until_taken(service, path, key, **fields):
    """Send a file with one idempotency key until an answer comes; return its check."""
    deadline = time.monotonic() + 300.0
    while time.monotonic() < deadline:
        client = Client(service.url, timeout_s=20.0)
        with contextlib.suppress(ServerError, OSError, AttributeError):
            return client.send(path, idempotency_key=key, n_tries=1, **fields)
        time.sleep(0.2)
    raise AssertionError("the service takes nothing")


@pytest.mark.parametrize(
    ("seed", "n_kills"),
    [(SEED + n, min(KILLS_IN_ROUND, KILLS - done)) for n, done in ROUNDS],
)
def test_no_kill_loses_a_check_or_does_one_twice(workspace, tunes_of, seed, n_kills):
    """Each round sends its files to a workspace of its own while it kills."""
    folder, weights = workspace
    chance = random.Random(seed)
    before = track_rows(folder)
    options = ("--workers", "2", "--callback-host", "127.0.0.1", "--private-callbacks")
    with Receiver() as receiver:
        service = ServiceProcess(folder, weights, *options).start()
        taken = {}

        def send():
            for n in range(N_FILES):
                path = tunes_of(230 + n)
                fields = {"add": n % 2 == 0, "callback_url": receiver.url, "external_id": str(n)}
                taken[n] = send_until_taken(service, path, f"file-{n}", **fields)["id"]
                time.sleep(0.3)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        kills = Counter()
        try:
            for _ in range(n_kills):
                time.sleep(chance.uniform(0.05, 1.5))
                workers = service.workers()
                if workers and chance.random() < 0.5:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
                    kills["worker"] += 1
                    continue
                service.kill()
                kills["service"] += 1
                service.start(wait=chance.random() < 0.7)
            service.wait_until_ready()
            sender.join(600)
            assert sorted(taken) == list(range(N_FILES))
            client = service.client()
            ended = {n: client.show(check, wait_s=60.0) for n, check in taken.items()}
            deadline = time.monotonic() + 120.0
            while set(receiver.checks()) != set(taken.values()) and time.monotonic() < deadline:
                time.sleep(0.2)
        finally:
            code = service.stop()
    assert code == 0
    assert len(set(taken.values())) == N_FILES
    assert Counter(found["state"] for found in ended.values()) == {"done": N_FILES}
    assert Counter(found["severity"] for found in ended.values()) == {"pass": N_FILES}
    new = [row for row in track_rows(folder) if row not in before]
    added = [found["track_id"] for n, found in ended.items() if n % 2 == 0]
    assert sorted(row[0] for row in new) == sorted(added)
    assert len({row[2] for row in new}) == len(new) == N_FILES // 2
    ids = receiver.checks()
    assert set(ids) == set(taken.values())
    assert all(len(of_check) == 1 for of_check in ids.values())
    secret = (folder / "service/webhook.secret").read_text().strip()
    assert all(verify(secret, headers, body, tolerance_s=1e6) for headers, body in receiver.got)
    assert sum(kills.values()) == n_kills
    left = {job.name for job in (folder / "service/uploads").iterdir()}
    assert left <= set(taken.values())
    print(f"{kills['service']} kills of the service, {kills['worker']} of workers, SEED={seed}")


def test_sigterm_finishes_what_was_begun(workspace, tunes_of):
    folder, weights = workspace
    with ServiceProcess(folder, weights, "--workers", "1") as service:
        client = service.client()
        first = client.send(tunes_of(300))
        later = [client.send(tunes_of(301 + n))["id"] for n in range(3)]
        while client.show(first["id"])["state"] == "queued":
            time.sleep(0.01)
        assert service.stop() == 0
    with ServiceProcess(folder, weights, "--workers", "1") as service:
        client = service.client()
        assert client.show(first["id"])["state"] == "done"
        for check in later:
            assert client.show(check, wait_s=60.0)["severity"] == "pass"
        assert service.stop() == 0


def test_a_scan_that_holds_the_lock_delays_adding_and_nothing_else(workspace, tunes_of):
    from auditor.workspace import lock_workspace

    folder, weights = workspace
    with ServiceProcess(folder, weights, "--workers", "1") as service:
        client = service.client()
        with lock_workspace(folder):
            adding = client.send(tunes_of(310), wait_s=10.0, add=True)
            assert adding["state"] == "adding" and adding["severity"] == "pass"
            assert client.check(tunes_of(311))["severity"] == "pass"
            assert client.show(adding["id"])["track_id"] is None
        assert client.show(adding["id"], wait_s=30.0)["track_id"]


def test_memory_stays_flat(workspace, tunes_of):
    folder, weights = workspace
    options = ("--workers", "1", "--rate", "1000000")
    with ServiceProcess(folder, weights, *options) as service, Sampler(service, 0.2) as sampler:
        client = service.client()
        paths = [tunes_of(400 + n) for n in range(8)]
        curve = []
        for n in range(SOAK):
            assert client.check(paths[n % len(paths)])["severity"] == "pass"
            if n % (SOAK // 20 or 1) == 0:
                curve.append(f"{n} {sum(service.memory_mb()):.0f}")
    totals = [own + sum(workers) for _, own, workers in sampler.rows if own and workers]
    late = totals[len(totals) // 3 :]
    print(f"{SOAK} checks: {min(late):.0f} to {max(late):.0f} MB resident after the first third")
    print(f"checks and MB: {', '.join(curve)}")
    assert max(late) < 1.1 * min(late), (min(late), max(late))
