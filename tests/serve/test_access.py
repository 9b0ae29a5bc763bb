"""Keys, scopes and rates: who may do what, tried one by one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_service import RunningService
from typer.testing import CliRunner

from auditor.cli import app
from auditor.errors import UsageError
from auditor.serve.access import RateLimiter
from auditor.serve.openapi import describe
from auditor.serve.server import check_settings
from auditor.serve.settings import Settings, check_root, check_shared, is_loopback
from auditor.serve.store import SCOPES
from auditor.serve.uploads import UploadError, resolve

NEEDED = {
    ("post", "/v1/checks"): "check",
    ("get", "/v1/checks"): "check",
    ("get", "/v1/checks/{check}"): "check",
    ("delete", "/v1/checks/{check}"): "check",
    ("get", "/v1/checks/{check}/report"): "check",
    ("get", "/v1/checks/{check}/media"): "check",
    ("get", "/v1/checks/{check}/clips/{name}"): "check",
    ("get", "/v1/cases"): "decide",
    ("put", "/v1/cases/{pair}/assignment"): "decide",
    ("get", "/v1/pairs/{pair}/decision"): "decide",
    ("post", "/v1/pairs/{pair}/decision"): "decide",
    ("get", "/v1/tracks"): "check",
    ("get", "/v1/tracks/{track}"): "check",
    ("get", "/v1/recommendations"): "check",
    ("get", "/v1/compositions"): "check",
    ("get", "/v1/webhooks"): "admin",
    ("post", "/v1/webhooks/{webhook}/retry"): "admin",
    ("get", "/metrics"): "admin",
    ("get", "/healthz"): None,
    ("get", "/readyz"): None,
}
"""Every route of the interface, and the scope that it needs."""


@pytest.fixture(scope="module")
def locked(settings_of):
    """Return a service with a key of each scope, and these keys."""
    with RunningService(settings_of()) as running:
        store = running.service.store
        keys = {scope: store.add_key(f"of {scope}", [scope])[1] for scope in SCOPES}
        yield running, keys


def test_the_table_has_every_route(locked):
    import auditor.serve.app as app_module

    paths = describe(app_module.make_app(locked[0].service))["paths"]
    assert {(method, path) for path, all_of in paths.items() for method in all_of} == set(NEEDED)


@pytest.mark.parametrize(("method", "path"), NEEDED)
def test_a_route_needs_its_scope_and_no_other(locked, method, path):
    served, keys = locked
    needed = NEEDED[(method, path)]
    target = re.sub(r"\{\w+\}", "00000000", path)
    open_to_all = served.request(method.upper(), target)
    assert (open_to_all.status == 401) == (needed is not None)
    if needed is None:
        return
    assert open_to_all.headers["WWW-Authenticate"] == "Bearer"
    for scope, key in keys.items():
        status = served.request(method.upper(), target, key=key).status
        allowed = scope in (needed, "admin")
        assert status != 401 and (status != 403) == allowed, (scope, status)


@pytest.mark.parametrize("key", ["audit_", "x", "audit_00000000_abc", " ", "a" * 5000])
def test_wrong_keys_open_nothing(locked, key):
    served, _ = locked
    assert served.get("/v1/checks", key=key).json["code"] == "unauthorised"


def test_a_key_sees_its_own_checks_and_those_who_decide_see_all(locked, files):
    served, keys = locked
    found = served.post_file(files["fresh"], key=keys["check"]).json
    where = found["links"]["self"]
    _, other = served.service.store.add_key("another", ["check"])
    _, renewed = served.service.store.add_key("of check", ["check"])
    for target in (where, f"{where}/report"):
        assert served.get(target, key=other).json["code"] == "not-found"
        assert served.get(target, key=renewed).status == 200
    assert served.request("DELETE", where, key=other).status == 404
    assert served.get("/v1/checks", key=other).json["items"] == []
    for key in (keys["check"], renewed, keys["admin"]):
        assert served.get("/v1/checks", key=key).json["items"][0]["id"] == found["id"]


def test_a_revoked_key_opens_nothing_and_the_service_stays_locked(settings_of):
    with RunningService(settings_of()) as served:
        assert served.get("/v1/checks").status == 200  # on this machine, until there is a key
        key, text = served.service.store.add_key("a", ["check"])
        assert served.get("/v1/checks").status == 401
        assert served.get("/v1/checks", key=text).status == 200
        served.service.store.revoke_key(key.id)
        assert served.get("/v1/checks", key=text).status == 401
        assert served.get("/v1/checks").status == 401


def test_a_key_that_asks_too_often_has_to_wait(settings_of):
    with RunningService(settings_of(rate_per_minute=40)) as served:
        texts = [served.service.store.add_key(name, ["check"])[1] for name in "ab"]
        answers = [served.get("/v1/checks", key=texts[0]) for _ in range(14)]
        assert [a.status for a in answers[:10]] == [200] * 10
        limited = answers[-1]
        assert (limited.status, limited.json["code"]) == (429, "rate")
        assert 1 <= int(limited.headers["Retry-After"]) <= 2
        assert served.get("/v1/checks", key=texts[1]).status == 200


def test_a_bucket_fills_again():
    limiter = RateLimiter(60)
    assert [limiter.take("k", now_s=0.0) for _ in range(15)] == [0.0] * 15
    assert limiter.take("k", now_s=0.0) == pytest.approx(1.0)
    assert limiter.take("k", now_s=0.5) == pytest.approx(0.5)
    assert limiter.take("k", now_s=1.5) == 0.0
    assert limiter.take("other", now_s=0.0) == 0.0


def test_other_machines_are_not_let_in_without_keys(tmp_path):
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.com"):
        with pytest.raises(UsageError, match="there is no key"):
            check_settings(Settings(tmp_path, host=host), has_keys=False)
        check_settings(Settings(tmp_path, host=host), has_keys=True)
    for host in ("127.0.0.1", "::1", "localhost"):
        check_settings(Settings(tmp_path, host=host), has_keys=False)
        assert is_loopback(host)


def test_a_root_is_a_real_folder_or_the_url_of_a_store(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert check_root(str(tmp_path / "link")) == bytes(tmp_path)
    assert check_root("s3://bucket/in/") == b"s3://bucket/in"
    with pytest.raises(UsageError, match="is no folder"):
        check_root(str(tmp_path / "none"))


def test_what_is_shared_with_a_cluster_is_a_folder(tmp_path):
    assert check_shared("", None) is check_shared("10.0.0.1:6379", None) is None
    assert check_shared("10.0.0.1:6379", tmp_path) == tmp_path
    for address, folder, message in (
        ("auto", None, "a cluster for each worker"),
        ("", tmp_path, "requires --cluster"),
        ("10.0.0.1:6379", tmp_path / "none", "is no folder"),
        ("10.0.0.1:6379", Path("s3://bucket/audit"), "is no folder"),
    ):
        with pytest.raises(UsageError, match=message):
            check_shared(address, folder)
    local, shared = Settings(tmp_path), Settings(tmp_path, ray_address="a:1", shared=tmp_path / "s")
    assert local.uploads == tmp_path / "service/uploads"
    assert shared.uploads == tmp_path / "s/uploads"
    assert Settings(tmp_path, ray_address="a:1").uploads == tmp_path / "cluster/uploads"


def test_a_request_names_one_object_below_a_root():
    roots = [b"s3://bucket/in"]
    assert resolve("s3://bucket/in/a b/c.mp3", roots) == b"s3://bucket/in/a b/c.mp3"
    for outside in (
        *("s3://bucket/in", "s3://bucket/in/", "s3://bucket/in/sub/", "s3://bucket/inside/a.mp3"),
        *("s3://bucket/in/../a.mp3", "s3://bucket/in/a.mp3?x", "s3://key:secret@bucket/in/a.mp3"),
    ):
        with pytest.raises(UploadError, match="none of the folders"):
            resolve(outside, roots)


def test_keys_by_the_command_line(tmp_path):
    run = CliRunner()

    def audit(*words):
        return run.invoke(app, ["serve", "keys", *words, "--workspace", str(tmp_path)])

    assert "there is no key" in audit("list").stderr
    made = audit("add", "ana", "--scope", "check", "--scope", "decide")
    assert made.exit_code == 0 and made.stdout.startswith("audit_")
    listed = audit("list").stdout
    key_id = listed.split()[0]
    assert "ana  check,decide  made 20" in listed and made.stdout.strip() not in listed
    assert audit("list", "--format", "json").stdout.count(key_id) == 1
    assert f"{key_id} of ana is revoked" in audit("revoke", key_id).stdout
    assert "revoked 20" in audit("list").stdout
    for words in (("revoke", key_id), ("add", "ana"), ("add", "ana", "--scope", "root")):
        assert audit(*words).exit_code == 2


def test_a_service_that_others_reach_is_refused_without_keys(tmp_path):
    words = ["serve", "--host", "0.0.0.0", "--workspace", str(tmp_path / "w"), "--port", "0"]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "audit serve keys add" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--root", "/nowhere/at/all"], "is no folder"),
        (["--policy", "/nowhere/policy.toml"], "cannot be read"),
        (["--host", "192.0.2.77", "--port", "1"], "there is no key"),
    ],
)
def test_mistakes_are_said_before_anything_starts(tmp_path, words, message):
    refused = CliRunner().invoke(app, ["serve", "--workspace", str(tmp_path / "w"), *words])
    assert refused.exit_code == 2
    assert message in refused.stderr
