"""The interface: checks from upload to verdict, problems, decisions, the catalogue."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import time

import pytest
from jsonschema import Draft202012Validator
from mutagen.id3 import ID3, TPUB
from small_audit import THRESHOLD, facts, ids_by_name, write_tune
from small_service import RunningService, form, track_rows

from auditor.api.check import check
from auditor.api.run import Options
from auditor.catalogue.catalogue import Catalogue
from auditor.records import result_from_json
from auditor.report.json_schema import result_schema
from auditor.serve.policy import AllowRule, Policy
from auditor.serve.webhooks import PAUSES_S
from auditor.workspace import open_workspace


def uploads(served):
    return os.listdir(served.settings.uploads)


def test_a_copy_is_blocked_and_the_result_is_that_of_the_command(served, files):
    answer = served.post_file(files["copy"], external_id="42", owner="acct", priority=7)
    found = answer.json
    assert (answer.status, found["state"], found["severity"]) == (200, "done", "block")
    assert answer.headers["Location"] == found["links"]["self"] == f"/v1/checks/{found['id']}"
    assert (found["external_id"], found["owner"], found["priority"]) == ("42", "acct", 7)
    assert found["file"]["name"] == "copy.mp3"
    Draft202012Validator(result_schema("check")).validate(found["result"])
    with open_workspace(
        served.settings.workspace, extractor=served.settings.extractor, write=False
    ) as workspace:
        local = check(
            workspace, [files["copy"]], options=Options(compositions=False), command="audit serve"
        )
    remote = result_from_json(json.dumps(found["result"]))
    expected = facts(local)
    expected["submissions"][0]["path"] = "copy.mp3"
    assert facts(remote) == expected
    (reason,) = [r for r in found["reasons"] if r["severity"] == "block"][:1]
    assert reason["score"] >= THRESHOLD
    again = served.get(found["links"]["self"]).json
    assert {**again, "media_pending": 0, "links": 0} == {**found, "media_pending": 0, "links": 0}


def test_a_clear_file_passes_and_its_upload_goes(served, files):
    found = served.post_file(files["fresh"]).json
    assert (found["severity"], found["reasons"], found["track_id"]) == ("pass", [], None)
    served.service.remove_old()
    assert found["id"] not in uploads(served)


def test_a_rule_allows_the_tracks_of_a_label(settings_of, tmp_path):
    policy = Policy(allow=(AllowRule({"owner": "acct", "label": "Example Records"}, "ours"),))
    first = write_tune(tmp_path / "first.mp3", 55)
    tags = ID3()
    tags.add(TPUB(encoding=3, text="Example Records"))
    tags.save(first)
    second = write_tune(tmp_path / "second.wav", 55)
    with RunningService(settings_of(policy=policy)) as served:
        assert served.post_file(first, add="true").json["track_id"]
        found = served.post_file(second, owner="acct").json
        assert [reason["allowed_by"] for reason in found["reasons"]] == ["ours"]
        assert found["severity"] == "pass"
        assert served.post_file(second, owner="another").json["severity"] == "block"


def test_clear_files_are_added_once_and_found_from_then_on(settings_of, files):
    with RunningService(settings_of()) as served:
        workspace = served.settings.workspace
        before = track_rows(workspace)
        found = served.post_file(files["other"], add="true", owner="acct").json
        assert (found["state"], found["severity"]) == ("done", "pass")
        (new,) = set(track_rows(workspace)) - set(before)
        assert new[0] == found["track_id"]
        assert "/service/library/" in new[1] and new[1].endswith("/other.wav")
        assert os.path.isfile(new[1])
        again = served.post_file(files["other"], add="true", name="renamed.wav").json
        assert (again["severity"], again["track_id"]) == ("block", None)
        assert again["reasons"][0]["track_id"] == found["track_id"]
        assert len(track_rows(workspace)) == len(before) + 1
        assert served.service.store.owner_of(found["track_id"]) == "acct"
        served.request("DELETE", found["links"]["self"])
        assert os.path.isfile(new[1])  # the track stays


def test_an_empty_catalogue_is_filled_by_adding(settings_of, files, tmp_path):
    workspace = tmp_path / "new"
    settings = settings_of()
    shutil.copytree(settings.workspace / "thresholds", workspace / "thresholds")
    with RunningService(dataclasses.replace(settings, workspace=workspace)) as served:
        refused = served.post_file(files["other"], name="elsewhere.wav").json
        assert (refused["state"], refused["problem"]["code"]) == ("failed", "catalogue")
        first = served.post_file(files["other"], add="true").json
        assert (first["severity"], first["result"]["n_tracks"]) == ("pass", 0)
        assert first["result"]["thresholds"][0]["n_comparisons"] == 0
        again = served.post_file(files["other"], add="true", name="renamed.wav").json
        assert (again["severity"], again["reasons"][0]["track_id"]) == ("block", first["track_id"])
        assert len(track_rows(workspace)) == 1


def test_a_file_that_is_no_audio_fails_with_the_code_of_the_command(served, files):
    found = served.post_file(files["bad"]).json
    assert (found["state"], found["severity"], found["result"]) == ("failed", None, None)
    assert found["problem"]["code"] == "unreadable"
    assert not found["problem"]["retryable"]
    assert served.get(f"{found['links']['self']}/report").status == 404


def test_a_file_below_a_root_is_read_where_it_is(served, made):
    path = made[0] / "music" / "b.wav"
    answer = served.send_json("POST", "/v1/checks?wait=60", {"path": str(path)})
    found = answer.json
    assert (answer.status, found["severity"]) == (200, "pass")  # it is not compared with itself
    assert found["result"]["submissions"][0]["path"] == str(path)


@pytest.mark.parametrize(
    "how", ["outside", "dots", "link", "link to a folder", "relative", "url", "nul"]
)
def test_paths_never_leave_the_roots(served, made, how, tmp_path):
    music, secret = made[0] / "music", tmp_path / "secret.wav"
    secret.write_bytes((music / "a.wav").read_bytes())
    link, folder = music / "link.wav", music / "link"
    if how == "link":
        link.symlink_to(secret)
    elif how == "link to a folder":
        folder.symlink_to(tmp_path)
    path = {
        "outside": str(secret),
        "dots": f"{music}/../weights/../../{tmp_path.name}",
        "link": str(link),
        "link to a folder": f"{folder}/secret.wav",
        "relative": "a.wav",
        "url": "s3://bucket/a.wav",
        "nul": f"{music}/a.wav\0",
    }[how]
    try:
        answer = served.send_json("POST", "/v1/checks", {"path": path})
    finally:
        for made_link in (link, folder):
            made_link.unlink(missing_ok=True)
    assert (answer.status, answer.json["code"]) == (403, "denied")
    assert str(tmp_path) not in answer.body.decode()


def test_a_path_below_a_root_that_is_no_file_is_said(served, made):
    answer = served.send_json("POST", "/v1/checks", {"path": str(made[0] / "music" / "none.wav")})
    assert (answer.status, answer.json["code"]) == (422, "not-found")


def test_the_same_idempotency_key_gives_the_same_check(served, files):
    headers = {"Idempotency-Key": "one"}
    first = served.post_file(files["fresh"], headers=headers, external_id="a")
    again = served.post_file(files["fresh"], headers=headers, external_id="a")
    assert again.json["id"] == first.json["id"]
    for file, external_id in (("copy", "a"), ("fresh", "b")):
        other = served.post_file(files[file], headers=headers, external_id=external_id)
        assert (other.status, other.json["code"]) == (409, "conflict")
    served.service.remove_old()
    assert set(uploads(served)) <= {job.id for job in served.service.store.jobs()}


def test_checks_are_listed_by_pages(served, files):
    ids = [served.post_file(files["fresh"], external_id="listed").json["id"] for _ in range(3)]
    page = served.get("/v1/checks?external_id=listed&limit=2").json
    rest = served.get(f"/v1/checks?external_id=listed&limit=2&cursor={page['next']}").json
    assert [c["id"] for c in page["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None and "result" not in page["items"][0]
    assert served.get("/v1/checks?state=queued").json["items"] == []
    assert served.get("/v1/checks?since=2999-01-01T00:00:00Z").json["items"] == []
    assert served.get("/v1/checks?since=2020-01-01T00:00:00Z&external_id=listed").json["items"]
    for bad in ("state=gone", "limit=0", "cursor=xyz", "since=yesterday"):
        answer = served.get(f"/v1/checks?{bad}")
        assert (answer.status, answer.json["code"]) == (422, "invalid"), bad


def test_a_check_can_be_purged(served, files):
    found = served.post_file(files["copy"]).json
    wait_for_media(served, found)
    assert (served.settings.media / found["id"]).is_dir()
    assert served.request("DELETE", found["links"]["self"]).status == 204
    assert served.get(found["links"]["self"]).status == 404
    assert served.request("DELETE", found["links"]["self"]).json["code"] == "not-found"
    assert not (served.settings.media / found["id"]).exists()


def wait_for_media(served, found):
    while (now := served.get(found["links"]["self"]).json)["media_pending"]:
        time.sleep(0.05)
    return now


def test_of_clear_files_no_clips_are_made(served, files):
    found = served.post_file(files["fresh"]).json
    assert (found["severity"], found["media_pending"]) == ("pass", False)
    assert [pair["flagged"] for pair in found["result"]["pairs"]] == [False]  # the nearest
    assert not (served.settings.media / found["id"]).exists()
    assert served.get(found["links"]["report"]).status == 200


def test_report_media_and_clips(served, files):
    found = wait_for_media(served, served.post_file(files["copy"]).json)
    page = served.get(found["links"]["report"])
    text = page.body.decode()
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy and "unsafe" not in policy
    assert "<style" not in text and 'type="application/json"' in text
    assert text.count("<script") == 4 and '<script src="/assets/' in text
    whole = served.get(found["links"]["report"] + "?self_contained=true")
    assert b"<style>" in whole.body
    assert whole.headers["Content-Disposition"].startswith("attachment")
    assert "default-src 'none'" in whole.headers["Content-Security-Policy"]
    assert served.get(found["links"]["media"]).json["format"].startswith("audit-media/")
    for clip in found["links"]["clips"]:
        heard = served.get(clip["href"])
        assert heard.headers["Content-Type"] == clip["media_type"].partition(";")[0]
        assert len(heard.body) > 100
    for name in ("99.ogg", "media.json", "..%2fmedia.json"):
        assert served.get(f"{found['links']['self']}/clips/{name}").status == 404
    for asset in {t.split('"')[0] for t in text.split('="/assets/')[1:]}:
        answer = served.get(f"/assets/{asset}")
        assert answer.status == 200 and "immutable" in answer.headers["Cache-Control"]
    assert served.get("/assets/000000000000/case.js").status == 404


def test_decisions_hold_and_are_never_changed(settings_of, files):
    with RunningService(settings_of()) as served:
        found = served.post_file(files["copy"]).json
        pair = found["reasons"][0]["pair_id"]
        where = f"/v1/pairs/{pair}/decision"
        assert served.get(where).json == {"pair_id": pair, "standing": None, "history": []}
        cases = {case["pair_id"]: case for case in served.get("/v1/cases").json["items"]}
        case = cases[pair]
        assert (case["check"], case["decision"]) == (found["id"], "")
        assert served.get(case["page"].partition("#")[0]).status == 200
        undo = served.send_json("POST", where, {"kind": "undo"})
        assert (undo.status, undo.json["code"]) == (409, "conflict")
        made = served.send_json(
            "POST", where, {"kind": "licensed", "note": "of 3 May", "by": "Ana"}
        )
        assert (made.status, made.json["standing"]) == (201, "licensed")
        served.send_json("POST", where, {"kind": "confirmed"})
        history = served.get(where).json["history"]
        assert [(h["kind"], h["by"], h["key"]) for h in history] == [
            ("licensed", "Ana", "local"),
            ("confirmed", "local", "local"),
        ]
        assert served.send_json("POST", where, {"kind": "undo"}).json["standing"] is None
        assert len(served.get(where).json["history"]) == 3
        assert served.service.store.decided(pair)[0]["address"] == "127.0.0.1"
        served.send_json("POST", where, {"kind": "licensed"})
        assert served.get("/v1/cases").json["total"] == len(cases) - 1
        assert pair not in [c["pair_id"] for c in served.get("/v1/cases").json["items"]]
        again = served.post_file(files["copy"]).json
        (reason,) = [r for r in again["reasons"] if r["pair_id"] == pair]
        assert (reason["decision"], reason["severity"]) == ("licensed", "pass")
        with Catalogue.open(served.settings.workspace / "catalogue.sqlite3") as catalogue:
            hashes = next(iter(served.service.store.hashes_of(pair)))
            assert catalogue.decisions(hashes)[0].note == "of 3 May"
            catalogue.decide(*hashes, "undo", by="someone else")  # as audit decide does
        served.service.bring_decisions(now=True)
        assert pair in [c["pair_id"] for c in served.get("/v1/cases").json["items"]]


def test_a_case_can_be_assigned(served, files):
    found = served.post_file(files["copy"]).json
    pair = found["reasons"][0]["pair_id"]
    where = f"/v1/cases/{pair}/assignment"
    assert served.send_json("PUT", where, {"assigned_to": "Ana"}).status == 204
    assert served.get("/v1/cases?assigned_to=Ana").json["items"][0]["pair_id"] == pair
    assert (
        served.send_json("PUT", "/v1/cases/00000000/assignment", {"assigned_to": "A"}).status == 404
    )
    assert served.send_json("PUT", where, {"assigned_to": "a\nb"}).status == 422


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"kind": "guilty"}', 422, "invalid"),
        (b'{"kind": "cover", "extra": 1}', 422, "invalid"),
        (b'{"kind": "cover"', 400, "malformed"),
        (b"[" * 60_000, 400, "malformed"),
        (b"[]", 422, "invalid"),
        (b" " * 70_000, 413, "too-large"),
    ],
)
def test_wrong_decisions_are_refused(served, files, body, status, code):
    pair = served.post_file(files["copy"]).json["reasons"][0]["pair_id"]
    headers = {"Content-Type": "application/json"}
    answer = served.request("POST", f"/v1/pairs/{pair}/decision", body, headers)
    assert (answer.status, answer.json["code"]) == (status, code)


def test_an_unknown_pair_is_not_found(served):
    assert served.get("/v1/pairs/00000000/decision").json["code"] == "not-found"
    assert served.get("/v1/pairs/xyz/decision").json["code"] == "invalid"
    answer = served.request("POST", "/v1/pairs/00000000/decision", b"x")
    assert answer.status == 415


def test_tracks_and_recommendations(served):
    with Catalogue.open(
        served.settings.workspace / "catalogue.sqlite3", read_only=True
    ) as catalogue:
        ids = ids_by_name(catalogue)
    track = served.get(f"/v1/tracks/{ids['a.wav']}").json
    assert track["path"].endswith("/a.wav")
    same = served.get(f"/v1/tracks?sha256={track['sha256']}").json["items"]
    assert {t["id"] for t in same} == {ids["a.wav"], ids["a-same.wav"]}
    assert served.get("/v1/tracks/none").json["code"] == "not-found"
    answer = served.get(f"/v1/recommendations?track={ids['b.wav']}&top=2").json
    assert (answer["kind"], len(answer["recommendations"])) == ("recommend", 2)
    assert served.get("/v1/recommendations?track=none").status == 404
    assert served.get(f"/v1/recommendations?track={ids['b.wav']}&top=0").status == 422
    assert served.get("/v1/recommendations?track=..%2fetc").status == 422
    answer = served.get(f"/v1/compositions?track={ids['hush.wav']}")
    assert (answer.status, answer.json["code"]) == (422, "usage")


def test_errors_are_problems(served):
    for method, target, status, code in (
        ("GET", "/v1/checks/chk_none", 404, "not-found"),
        ("GET", "/nowhere", 404, "not-found"),
        ("PATCH", "/v1/checks", 405, "method"),
        ("POST", "/v1/checks", 415, "malformed"),
    ):
        answer = served.request(method, target)
        assert answer.status == answer.json["status"] == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json["code"] == code
        assert answer.json["type"] == f"urn:audit:problem:{code}"
    assert served.request("PATCH", "/v1/checks").headers["Allow"]


def test_health_and_metrics(served):
    assert served.get("/healthz").json == {"status": "ok", "reasons": []}
    assert served.get("/readyz").json["status"] == "ok"
    text = served.get("/metrics").body.decode()
    for name in (
        "audit_jobs{",
        "audit_workers_ready 1.0",
        "audit_verdicts_total",
        "audit_requests",
    ):
        assert name in text


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 415),
    ],
)
def test_pages_of_other_sites_may_do_nothing(served, head, status):
    assert served.request("POST", "/v1/checks", headers=head).status == status


def test_a_name_that_leads_here_is_another_site(served):
    assert served.get("/v1/checks", headers={"Host": "evil.example"}).json["code"] == "forbidden"
    host = f"localhost:{served.port}"
    assert served.get("/v1/checks", headers={"Host": host}).status == 200


# Bodies that lie, stop, or crawl.


def raw(served, data, *, then=b"", close=False):
    """Send bytes; return the status line of the answer, or "" if the connection just ends."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(data)
        if then:
            time.sleep(0.2)
            connection.sendall(then)
        if close:
            connection.shutdown(socket.SHUT_WR)
        try:
            return connection.makefile("rb").readline().decode().strip()
        except ConnectionResetError:
            return ""


HEAD = (
    b"POST /v1/checks HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: multipart/form-data; boundary=XX\r\n"
)
PART = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'


def test_an_upload_that_is_said_to_be_too_large_is_refused_at_once(served):
    assert " 413 " in raw(served, HEAD + b"Content-Length: 10737418240\r\n\r\n" + PART)


def test_an_upload_that_turns_out_too_large_is_cut_off(served):
    chunk = b"%x\r\n" % 100_000 + b"a" * 100_000 + b"\r\n"
    first = b"%x\r\n" % len(PART) + PART + b"\r\n"
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + first + 40 * chunk + b"0\r\n\r\n"
    assert " 413 " in raw(served, data)
    assert set(uploads(served)) <= {job.id for job in served.service.store.jobs()}


def test_an_upload_that_stops_is_ended(served):
    assert " 408 " in raw(served, HEAD + b"Content-Length: 2000000\r\n\r\n" + PART + b"a" * 1000)
    assert set(uploads(served)) <= {job.id for job in served.service.store.jobs()}


def test_an_upload_that_ends_early_is_no_check(served):
    n_before = len(served.service.store.jobs())
    raw(served, HEAD + b"Content-Length: 2000000\r\n\r\n" + PART + b"a" * 1000, close=True)
    assert " 400 " in raw(
        served, HEAD + b"Content-Length: 90\r\n\r\n" + PART + b"a" * (90 - len(PART))
    )
    assert len(served.service.store.jobs()) == n_before
    assert set(uploads(served)) <= {job.id for job in served.service.store.jobs()}


def test_a_body_after_its_end_is_no_part_of_it(served):
    data, _ = form(b"x", "a.wav", {})
    line = raw(served, HEAD + b"Content-Length: %d\r\n\r\n" % (len(data) - 40) + data)
    assert " 400 " in line


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"--XX--\r\n", 422),
        (b"nonsense", 400),
        (PART.replace(b'name="file"; ', b"") + b"a\r\n--XX--\r\n", 400),
        (PART + b"a\r\n" + PART + b"b\r\n--XX--\r\n", 422),
        (PART + b"\r\n--XX--\r\n", 422),
        (
            b'--XX\r\nContent-Disposition: form-data; name="isrc"\r\n\r\nUS\r\n'
            + PART
            + b"a\r\n--XX--\r\n",
            422,
        ),
        (
            b'--XX\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n'
            + PART
            + b"a\r\n--XX--\r\n",
            422,
        ),
        (
            b'--XX\r\nContent-Disposition: form-data; name="owner"\r\n\r\n\xff\r\n'
            + PART
            + b"a\r\n--XX--\r\n",
            422,
        ),
        (
            b'--XX\r\nContent-Disposition: form-data; name="owner"\r\n\r\n'
            + 5000 * b"a"
            + b"\r\n--XX--\r\n",
            422,
        ),
        (b"--XX\r\nX: " + 9000 * b"a" + b"\r\n\r\n", 400),
        (
            30 * b'--XX\r\nContent-Disposition: form-data; name="owner"\r\n\r\n1\r\n'
            + b"--XX--\r\n",
            422,
        ),
    ],
)
def test_malformed_forms_are_refused(served, body, status):
    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    answer = served.request("POST", "/v1/checks", body, headers)
    assert answer.status == status, answer.body
    assert set(uploads(served)) <= {job.id for job in served.service.store.jobs()}


def test_a_form_without_a_boundary_is_refused(served):
    for kind in ("multipart/form-data", "multipart/form-data; boundary="):
        answer = served.request("POST", "/v1/checks", b"x", {"Content-Type": kind})
        assert answer.status == 400


def test_a_head_that_comes_slowly_ends_the_connection(served, monkeypatch):
    from auditor.serve import server

    monkeypatch.setattr(server, "HEAD_S", 0.3)
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-One: 1\r\n")
        assert connection.recv(100) == b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as connection:
        assert connection.recv(100) == b""


@pytest.mark.parametrize(
    "name",
    ["../../../evil.wav", "..\\evil.wav", "/etc/passwd", ".", "", "a" * 3000 + ".wav", "x.wav/.."],
)
def test_names_of_uploads_are_harmless(served, files, name):
    answer = served.post_file(files["fresh"], name=name)
    assert answer.status == 200
    shown = answer.json["file"]["name"]
    assert "/" not in shown and "\\" not in shown and 0 < len(shown) < 130
    assert not shown.startswith(".")


def test_a_full_queue_and_a_full_disk_say_when_to_come_again(settings_of, files, monkeypatch):
    with RunningService(settings_of(max_waiting=1, max_disk_bytes=100_000_000)) as served:
        monkeypatch.setattr(served.service.store, "next_check", lambda: None)
        assert served.post_file(files["fresh"], wait=0).status == 202
        full = served.post_file(files["fresh"], wait=0)
        assert (full.status, full.json["code"], full.json["retryable"]) == (429, "queue-full", True)
        assert int(full.headers["Retry-After"]) > 0
        keyed = served.post_file(files["fresh"], wait=0, headers={"Idempotency-Key": "k"})
        assert keyed.status == 429
    with RunningService(settings_of(max_disk_bytes=1000)) as served:
        full = served.post_file(files["fresh"], wait=0)
        assert (full.status, full.json["code"]) == (507, "disk-full")
        assert int(full.headers["Retry-After"]) > 0


def test_callbacks_that_are_not_allowed_are_refused_at_once(served, files):
    for url in ("http://evil.example/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "nonsense"):
        answer = served.post_file(files["fresh"], callback_url=url)
        assert (answer.status, answer.json["code"]) == (422, "usage"), url
    assert len(PAUSES_S) == 8
