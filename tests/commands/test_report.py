"""``audit report``: the same bytes again, with media or without, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_report import make_check, make_media, make_scan
from typer.testing import CliRunner

from auditor.cli import app
from auditor.report.media.model import Media, media_from_json
from auditor.report.write import load_report, media_path, write_report


def report(*arguments: object):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.mark.parametrize("result", [make_scan(), make_check("clear")], ids=lambda r: r.kind)
@pytest.mark.parametrize("with_media", [True, False])
def test_a_report_is_rendered_again_byte_for_byte(tmp_path, result, with_media):
    media = make_media(result) if with_media else None
    html, json_path = write_report(result, tmp_path / "r.html", media)
    first, table = html.read_bytes(), html.with_suffix(".csv").read_bytes()
    html.unlink()
    html.with_suffix(".csv").unlink()
    done = report(json_path)
    assert done.exit_code == 0, done.output
    assert html.with_suffix(".csv").read_bytes() == table
    assert done.stderr == f"report: {html}\n"
    assert html.read_bytes() == first
    assert load_report(json_path) == (result, media)


def test_media_of_an_older_report_go(tmp_path):
    scan = make_scan()
    _, json_path = write_report(scan, tmp_path / "r.html", make_media(scan))
    assert media_from_json(media_path(json_path).read_text("utf-8")) == make_media(scan)
    for nothing in (None, Media()):
        write_report(scan, tmp_path / "r.html", nothing)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["r.csv", "r.html", "r.json"]


def test_links_lead_to_the_same_files_from_another_folder(tmp_path):
    scan = make_scan()
    _, json_path = write_report(scan, tmp_path / "r.html", make_media(scan))
    done = report(json_path, "-o", tmp_path / "for" / "lawyer.html", "-q")
    assert (done.exit_code, done.stderr) == (0, "")
    text = (tmp_path / "for" / "lawyer.html").read_text("utf-8")
    assert 'href="../music/0.mp3"' in text
    assert 'href="music/0.mp3"' not in text
    assert not (tmp_path / "for" / "lawyer.json").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a file. Give the JSON beside a report"),
        ("{", "r.json: the result is not JSON"),
        ('{"kind": "map"}', "r.json: the result has kind 'map'"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, text, message):
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    done = report(path)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not path.with_suffix(".html").exists()


def test_media_that_are_none_are_refused_and_named(tmp_path):
    scan = make_scan()
    html, json_path = write_report(scan, tmp_path / "r.html", make_media(scan))
    data = json.loads(media_path(json_path).read_text("utf-8"))
    data["tracks"][0]["link"] = "javascript:alert(1)"
    media_path(json_path).write_text(json.dumps(data))
    html.unlink()
    done = report(json_path)
    assert done.exit_code == 2
    assert "r.media.json: the media are not what audit wrote" in done.stderr
    assert "Remove the file, and the report comes without sound" in done.stderr
    assert not html.exists()


def test_the_json_is_never_overwritten_by_its_report(tmp_path):
    _, json_path = write_report(make_scan(), tmp_path / "r.html")
    before = json_path.read_bytes()
    done = report(json_path, "-o", json_path)
    assert done.exit_code == 2
    assert "is not an HTML file name. Give one that ends in .html" in done.stderr
    assert json_path.read_bytes() == before


def test_a_file_that_is_not_utf8_is_named(tmp_path):
    Path(tmp_path / "r.json").write_bytes(b"\xff{}")
    assert "r.json is not UTF-8" in report(tmp_path / "r.json").stderr
