"""Webhooks: signatures, where they may go, pauses, and what is given up."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from small_service import RunningService

from auditor.errors import UsageError
from auditor.serve import webhooks
from auditor.serve.webhooks import (
    CallbackError,
    check_callback,
    is_public,
    resolve_host,
    sign,
    signing_secret,
    verify,
)


class Receiver:
    """A server that keeps what it is sent, and answers as it is told."""

    def __init__(self, statuses=()):
        self.got, answers = [], iter(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = next(answers, 204)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    def wait(self, n):
        for _ in range(1200):
            if len(self.got) >= n:
                return self.got
            time.sleep(0.05)
        raise AssertionError(self.got)

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._server.shutdown()
        self._server.server_close()


def wait_for_state(served, state):
    for _ in range(1200):
        found = served.get("/v1/webhooks").json["items"]
        if found and found[0]["state"] == state:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(found)


def test_the_end_of_a_check_is_sent_and_signed(served, files):
    secret = signing_secret(served.settings.directory)
    with Receiver() as receiver:
        found = served.post_file(files["copy"], callback_url=receiver.url, external_id="42").json
        ((headers, body),) = receiver.wait(1)
        assert verify(secret, headers, body)
        assert not verify(secret, headers, body + " ")
        assert not verify(secret, headers | {"webhook-id": "x"}, body)
        assert not verify(secret, headers | {"webhook-timestamp": "1"}, body)
        assert not verify(secret, {}, body)
        sent = json.loads(body)
        assert (sent["type"], sent["check"], sent["external_id"]) == (
            "check.done",
            found["id"],
            "42",
        )
        assert (sent["severity"], sent["reasons"]) == ("block", found["reasons"])
        shown = wait_for_state(served, "delivered")
        assert (shown["id"], shown["last_status"]) == (headers["webhook-id"], 204)
        served.send_json("POST", f"/v1/webhooks/{shown['id']}/retry", {})
        again = receiver.wait(2)[1]
        assert (again[0]["webhook-id"], again[1]) == (headers["webhook-id"], body)


def test_a_failed_check_is_sent_too(served, files):
    with Receiver() as receiver:
        served.post_file(files["bad"], callback_url=receiver.url)
        ((_, body),) = receiver.wait(1)
    sent = json.loads(body)
    assert (sent["type"], sent["problem"]["code"]) == ("check.failed", "unreadable")


def test_failures_are_tried_again_with_the_same_id_and_then_given_up(
    settings_of, files, monkeypatch
):
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.01, 0.01))
    settings = settings_of(callback_hosts=("127.0.0.1",), private_callbacks=True)
    with Receiver([500, 302, 404]) as receiver, RunningService(settings) as served:
        served.post_file(files["fresh"], callback_url=receiver.url)
        got = receiver.wait(3)
        assert len({headers["webhook-id"] for headers, _ in got}) == 1
        dead = wait_for_state(served, "dead")
        assert (dead["attempts"], dead["last_error"]) == (3, "answered 404")
        assert dead["next_attempt"] is None
        assert len(receiver.got) == 3  # the redirect was not followed
        assert served.send_json("POST", "/v1/webhooks/dlv_none/retry", {}).status == 404


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n", None])
def test_a_host_that_hangs_or_talks_nonsense_holds_nothing_up(
    settings_of, files, monkeypatch, answer
):
    monkeypatch.setattr(webhooks, "ATTEMPT_S", 0.3)
    settings = settings_of(callback_hosts=("127.0.0.1",), private_callbacks=True)
    with socket.create_server(("127.0.0.1", 0)) as listening, RunningService(settings) as served:
        taken = []

        def take():
            try:
                while True:
                    connection, _ = listening.accept()
                    taken.append(connection)
                    if answer is not None:
                        connection.recv(65536)
                        connection.sendall(answer)
                        connection.close()
            except OSError:
                pass

        threading.Thread(target=take, daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        found = served.post_file(files["fresh"], callback_url=url).json
        assert found["state"] == "done"
        for _ in range(1200):
            (shown,) = served.get("/v1/webhooks").json["items"]
            if shown["attempts"]:
                break
            time.sleep(0.05)
        assert shown["state"] == "pending"
        expected = "no answer within" if answer is None else "not HTTP"
        assert expected in shown["last_error"]
        listening.shutdown(socket.SHUT_RDWR)
        for connection in taken:
            connection.close()


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://hooks.example.org.evil.example/",
        "https://evilhooks.example.org/",
        "ftp://hooks.example.org/",
        "https://user@hooks.example.org/",
        "https://evil.example\\@hooks.example.org/",
        "https://hooks.example.org/#x",
        "https://hooks.example.org:99999/",
        "https://hooks.example.org/ x",
        "https://hooks.example.org/\r\nX: y",
        "https://höoks.example.org/",
        "//hooks.example.org/",
        "https://",
        "https://[::1/",
        "",
    ],
)
def test_only_plain_urls_of_allowed_hosts_are_taken(url):
    with pytest.raises(CallbackError, match="is no callback URL"):
        check_callback(url, ["hooks.example.org"])


def test_hosts_may_be_named_with_all_below_them():
    target = check_callback("https://A.b.Example.org.:8443/x", ["*.example.org"])
    assert (target.host, target.port, target.authority) == (
        "a.b.example.org",
        8443,
        "a.b.example.org:8443",
    )
    with pytest.raises(CallbackError):
        check_callback("https://example.org/", ["*.example.org"])
    assert check_callback("http://[::1]/", ["::1"]).authority == "[::1]"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "0.0.0.0", "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1%eth0",
        "fc00::1", "ff02::1",
        "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_known(address):
    assert not is_public(address)


def test_public_addresses_are_known():
    assert all(map(is_public, ("1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")))


def test_a_name_with_one_private_address_is_refused(monkeypatch):
    async def find(addresses, *, private):
        loop = asyncio.get_running_loop()

        async def resolved(*_words, **_how):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 443)) for a in addresses]

        monkeypatch.setattr(loop, "getaddrinfo", resolved)
        return await resolve_host("h.example", 443, private=private)

    assert asyncio.run(find(["1.1.1.1"], private=False)) == "1.1.1.1"
    with pytest.raises(CallbackError, match="which is not public"):
        asyncio.run(find(["1.1.1.1", "127.0.0.1"], private=False))
    assert asyncio.run(find(["127.0.0.1"], private=True)) == "127.0.0.1"
    with pytest.raises(CallbackError, match="no address"):
        asyncio.run(find([], private=False))


def test_what_resolves_to_this_machine_is_never_reached_unless_allowed(settings_of, files):
    settings = settings_of(callback_hosts=("localhost",))
    with Receiver() as receiver, RunningService(settings) as served:
        url = receiver.url.replace("127.0.0.1", "localhost")
        served.post_file(files["fresh"], callback_url=url)
        for _ in range(1200):
            (shown,) = served.get("/v1/webhooks").json["items"]
            if shown["attempts"]:
                break
            time.sleep(0.05)
        assert "not public" in shown["last_error"] or "cannot be resolved" in shown["last_error"]
        assert receiver.got == []


def test_the_secret_is_made_once_and_nobody_else_can_read_it(tmp_path):
    secret = signing_secret(tmp_path)
    assert secret.startswith("whsec_") and signing_secret(tmp_path) == secret
    assert stat.S_IMODE((tmp_path / "webhook.secret").stat().st_mode) == 0o600
    (tmp_path / "webhook.secret").write_text("whsec_???")
    with pytest.raises(UsageError, match="Remove it for a new secret"):
        signing_secret(tmp_path)


def test_a_signature_follows_from_id_time_and_body():
    secret = "whsec_" + "QQ==" * 1
    assert sign(secret, "a", 1, "b") != sign(secret, "a", 2, "b")
    assert sign(secret, "a", 1, "b").startswith("v1,")
