"""What an open inbox is told: the cases and the queue, as they change."""

from __future__ import annotations

import contextlib
import http.client
import time

import pytest
from small_service import RunningService

from auditor.serve import feed as feed_module


@contextlib.contextmanager
def listening(running, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
    connection.request("GET", "/inbox/events", headers=headers or {})
    answer = connection.getresponse()
    try:
        yield answer
    finally:
        connection.close()


def next_event(answer):
    """Return name and text of the next event."""
    fields = {}
    while line := answer.readline().decode().rstrip("\n"):
        name, _, value = line.partition(": ")
        fields[name] = value
    return fields.get("event"), fields.get("data")


def test_cases_and_queue_are_told_as_they_change(served, files):
    with listening(served) as answer:
        assert answer.getheader("content-type").startswith("text/event-stream")
        name, before = next_event(answer)
        assert name == "cases"
        assert f'data-version="{before}"' in served.get("/inbox").body.decode()
        assert next_event(answer)[0] == "queue"
        assert served.post_file(files["copy"]).json["severity"] == "block"
        told = [next_event(answer)]
        while told[-1][0] != "cases":
            told.append(next_event(answer))
        assert told[-1][1] != before
        pair = served.get("/v1/cases").json["items"][0]["pair_id"]
        served.send_json("PUT", f"/v1/cases/{pair}/assignment", {"assigned_to": "Ana"})
        while (event := next_event(answer))[0] != "cases":
            pass
        assert event[1] != told[-1][1]


def test_silence_is_broken_and_whoever_may_listen_no_longer_is_left(settings_of, monkeypatch):
    monkeypatch.setattr(feed_module, "KEEP_ALIVE_S", 0.1)
    monkeypatch.setattr(feed_module, "LOOK_S", 0.05)
    with RunningService(settings_of()) as running:
        key, _ = running.service.store.add_key("ana", ["decide"])
        secret = running.service.store.add_session(key, lasts_s=60.0)
        with listening(running) as refused:
            assert refused.status == 401
        with listening(running, {"Cookie": f"audit_session={secret}"}) as answer:
            assert [next_event(answer)[0] for _ in range(2)] == ["cases", "queue"]
            assert answer.readline() == b":\n"
            running.service.store.revoke_key(key.id)
            deadline = time.monotonic() + 10.0
            while answer.readline() and time.monotonic() < deadline:
                pass
            assert answer.readline() == b""


def test_a_service_ends_though_pages_listen(settings_of):
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(RunningService(settings_of()))
        answer = stack.enter_context(listening(running))
        assert next_event(answer)[0] == "cases"
        started = time.monotonic()
        running._server.should_exit = True
        running._thread.join(60)
        assert time.monotonic() - started < 4.0


def test_only_so_many_pages_listen(served, monkeypatch):
    monkeypatch.setattr(feed_module, "MAX_LISTENERS", 0)
    with listening(served) as answer:
        assert answer.status == 503
        assert answer.getheader("retry-after") == "30"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_events_are_only_read(served, method):
    assert served.request(method, "/inbox/events").status == 405
