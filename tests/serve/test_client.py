"""The client of one file, and ``audit check --server``: the same as the local command."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from small_audit import write_tune
from small_report import make_check
from small_service import RunningService
from typer.testing import CliRunner

from auditor.cli import app
from auditor.commands.check_stream import merge_results
from auditor.records import result_from_json
from auditor.serve.client import Client, ServerError


def audit(*words, **environment):
    return CliRunner().invoke(app, list(map(str, words)), env=environment)


@pytest.fixture(scope="module")
def locked(settings_of):
    """Return a service that needs a key, with a key for it."""
    with RunningService(settings_of()) as running:
        yield running, running.service.store.add_key("k", ["check", "decide"])[1]


def both(served, words, tmp_path):
    """Return what the local command and the service say of the same files."""
    settings = served.settings
    how = ["--workspace", settings.workspace, "--extractor", settings.extractor]
    local = audit("check", *words, *how, "--no-compositions", "-q", "-o", tmp_path / "local")
    remote = audit("check", *words, "--server", served.url, "-q", "-o", tmp_path / "remote")
    return local, remote


def plain(text):
    data = json.loads(text)
    for varying in ("command", "created", "seconds"):
        del data["provenance"][varying]
    return data


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_formats_and_exit_codes_are_those_of_the_local_command(served, files, tmp_path, form):
    words = [files["copy"], files["fresh"], files["bad"], "--format", form]
    local, remote = both(served, words, tmp_path)
    assert (local.exit_code, remote.exit_code) == (1, 1)
    if form == "json":
        assert plain(remote.stdout) == plain(local.stdout)
    else:
        assert remote.stdout == local.stdout
    assert audit("check", files["fresh"], "--server", served.url, "--no-report").exit_code == 0
    zero = audit("check", files["copy"], "--server", served.url, "--no-report", "--exit-zero")
    assert zero.exit_code == 0


def test_several_copies_come_in_the_order_of_the_local_command(served, files, tmp_path):
    for n, name in enumerate(("one.mp3", "two.ogg", "three.flac"), 1):
        write_tune(tmp_path / "in" / name, n)
    shutil.copyfile(files["bad"], tmp_path / "in/bad.mp3")
    words = [tmp_path / "in", "--format", "json"]
    local, remote = both(served, words, tmp_path)
    found = plain(remote.stdout)
    assert found == plain(local.stdout)
    assert sum(pair["flagged"] for pair in found["pairs"]) >= 3
    said = [[x for x in one.stderr.splitlines() if "skipped" in x] for one in (local, remote)]
    assert said[0] == said[1] and len(said[0]) == 1
    local, remote = both(served, [*words, "--redact-paths"], tmp_path)
    assert plain(remote.stdout) == plain(local.stdout)
    assert str(tmp_path) not in remote.stdout


def test_merged_pairs_with_evidence_come_by_id():
    result = make_check("altered recording")
    (one,) = result.pairs
    parts = [
        dataclasses.replace(result, pairs=(dataclasses.replace(one, a=a, score=score),))
        for a, score in (("new-c", 0.5), ("new-a", 0.7), ("new-b", 0.6), ("new-a", 0.9))
    ]
    merged = merge_results(parts)
    assert [(p.a, p.score) for p in merged.pairs] == [
        *(("new-a", 0.9), ("new-a", 0.7), ("new-b", 0.6), ("new-c", 0.5)),
    ]
    conflict = dataclasses.replace(parts[0].pairs[0], flagged=True, licences_differ=True)
    parts[0] = dataclasses.replace(result, pairs=(conflict,))
    assert merge_results(parts).pairs[0].a == "new-c"


def test_a_service_that_compares_no_compositions_cannot_be_told_to_fail_on_them(served, files):
    words = ["check", files["fresh"], "--server", served.url, "--no-report"]
    done = audit(*words, "--fail-on", "composition")
    assert done.exit_code == 2 and "does not compare compositions" in done.stderr


def test_the_report_has_the_clips_of_the_service(served, files, tmp_path):
    words = [files["copy"], "--format", "json"]
    both(served, words, tmp_path)
    local, remote = (next((tmp_path / name).glob("*.html")) for name in ("local", "remote"))
    media = [json.loads(p.with_suffix(".media.json").read_text()) for p in (local, remote)]
    for one in media:
        for track in one["tracks"]:
            track["link"] = ""
    assert media[0]["pairs"] == media[1]["pairs"]
    assert [t["peaks"] for t in media[0]["tracks"]] == [t["peaks"] for t in media[1]["tracks"]]


def test_lines_come_as_jsonl(served, files):
    words = ["check", files["copy"], files["bad"], "--format", "jsonl", "--no-report"]
    done = audit(*words, "--server", served.url)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert {line["kind"] for line in lines} == {"submission", "skipped"}
    assert next(line for line in lines if line["kind"] == "skipped")["code"] == "unreadable"


def test_files_of_the_same_bytes_have_ids_of_their_own(served, files, tmp_path):
    for name in ("one.mp3", "two.mp3"):
        shutil.copyfile(files["copy"], tmp_path / name)
    local, remote = both(
        served, [tmp_path / "one.mp3", tmp_path / "two.mp3", "--format", "json"], tmp_path
    )
    found = result_from_json(remote.stdout)
    assert len({track.id for track in found.submissions}) == 2
    assert plain(remote.stdout) == plain(local.stdout)
    assert remote.exit_code == 1


def test_clear_files_are_added_to_the_catalogue_of_the_service(settings_of, files):
    with RunningService(settings_of()) as served:
        words = ["check", files["other"], "--server", served.url, "--no-report", "--add"]
        assert audit(*words).exit_code == 0
        assert served.service.store.jobs()[0].track_id
        assert audit(*words).exit_code == 1  # the catalogue has it now


@pytest.mark.parametrize(
    "option",
    [
        ["--threshold", "0.5"],
        ["--workspace", "x"],
        ["--per-batch"],
        ["--same-owner", "artist"],
        ["--no-compositions"],
        ["--wait"],
    ],
)
def test_what_the_service_decides_cannot_be_typed(option):
    done = audit("check", "a.mp3", "--server", "http://127.0.0.1:1", *option)
    assert done.exit_code == 2
    assert "the service decides that" in done.stderr


def test_a_service_is_asked_for_a_wide_check(served, files):
    words = ["check", files["fresh"], "--no-report", "--server", served.url, "--wide"]
    done = audit(*words)  # its extractor has no other ways to hear, and it says so
    assert done.exit_code == 2
    assert "--wide needs an extractor that tells what is played when" in done.stderr
    assert served.service.store.jobs()[0].wide


def test_mistakes_have_exit_code_2(locked, files, tmp_path):
    served, key = locked
    words = ["check", files["fresh"], "--no-report", "--server", served.url]
    assert audit(*words, AUDIT_SERVER_KEY=key).exit_code == 0
    for more, message in (
        (["--server-key", "audit_wrong"], "a key is needed"),
        ([], "a key is needed"),
    ):
        done = audit(*words, *more)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr
    bad = audit("check", files["bad"], "--server", served.url, "--no-report", AUDIT_SERVER_KEY=key)
    assert bad.exit_code == 2 and "none of the 1 files could be used" in bad.stderr
    assert audit("check", files["fresh"], "--server", "ftp://x").exit_code == 2
    assert audit("check", "s3://b/a.mp3", "--server", served.url).exit_code == 2
    assert audit("check", tmp_path, "--server", served.url).exit_code == 2


def test_a_service_that_is_not_there_is_said(files, monkeypatch):
    from auditor.serve import client

    monkeypatch.setattr(client.time, "sleep", lambda _seconds: None)
    done = audit("check", files["fresh"], "--server", "http://127.0.0.1:9", "--no-report")
    assert done.exit_code == 2 and "cannot be reached" in done.stderr


def test_the_client_by_itself(locked, files):
    served, key = locked
    client = Client(served.url, key)
    check = client.check(files["copy"], external_id="42", owner="acct")
    assert (check["severity"], check["external_id"]) == ("block", "42")
    pair = check["reasons"][0]["pair_id"]
    assert client.decide(pair, "licensed", note="n", by="Ana")["standing"] == "licensed"
    assert json.loads(client.media(check["id"]))["pairs"]
    client.delete(check["id"])
    with pytest.raises(ServerError, match="there is no check") as caught:
        client.show(check["id"])
    assert (caught.value.status, caught.value.code) == (404, "not-found")
    with pytest.raises(ServerError, match="a key is needed"):
        Client(served.url).show("x")


def test_an_upload_that_is_refused_early_says_why(served, tmp_path):
    large = tmp_path / "large.wav"
    large.write_bytes(bytes(served.settings.max_upload_bytes + 200_000))
    with pytest.raises(ServerError, match="the limit") as caught:
        Client(served.url).check(large)
    assert (caught.value.status, caught.value.code) == (413, "too-large")
