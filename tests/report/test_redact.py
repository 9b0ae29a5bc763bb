"""Results without paths: files keep their names, nothing says where they lie."""

from __future__ import annotations

import csv
import dataclasses
import io
import json

import pytest
from small_atlas import make_atlas
from small_report import make_check, make_media, make_scan
from typer.testing import CliRunner

from auditor.cli import app
from auditor.records import (
    ComparedCollection,
    CompareResult,
    LeakResult,
    Provenance,
    Recommended,
    RecommendResult,
    Skipped,
    Split,
    to_json,
)
from auditor.report.html.map import render_map
from auditor.report.html.page import render_html
from auditor.report.redact import redact_atlas, redact_command, redact_media, redact_result
from auditor.report.results_csv import to_csv
from auditor.report.write import write_report

USER = "ana-ruiz"
HOME = f"/home/{USER}"
MADE = Provenance(
    "0.1.0",
    f"audit scan {HOME}/music --workspace={HOME}/ws --far 1e-6 -o '{HOME}/out'",
    "2026-01-02T03:04:05Z",
    "excerpt",
    "0a1b2c3d",
    f"{HOME}/.audit",
)


def at_home(result):
    """Return a result of files that lie in two folders of somebody's home."""
    folders = ("music/Ana's set", "demos")

    def moved(tracks):
        return tuple(
            dataclasses.replace(track, path=f"{HOME}/{folders[i % 2]}/{track.id}.mp3")
            for i, track in enumerate(tracks)
        )

    changes = {
        "tracks": moved(result.tracks),
        "provenance": MADE,
        "skipped": (
            Skipped(f"{HOME}/music/bad.mp3", f"{HOME}/music/bad.mp3: 0 bytes, see {HOME}/log"),
            Skipped(HOME, "permission denied", "denied"),
        ),
        "threshold": dataclasses.replace(result.threshold, note=f"From {HOME}/t.json, by hand."),
    }
    if hasattr(result, "submissions"):
        changes["submissions"] = moved(result.submissions)
    return dataclasses.replace(result, **changes)


def leak() -> LeakResult:
    scan = make_scan()
    shared = {f.name: getattr(scan, f.name) for f in dataclasses.fields(scan) if f.name != "kind"}
    sides = tuple(ComparedCollection(f"{HOME}/{n}", "folder", 1, 1, 9.0) for n in ("train", "test"))
    splits = tuple(Split(n, f"{HOME}/{n}", 1, 1, 9.0, 0, 0.0) for n in ("train", "test"))
    return LeakResult(**shared, collections=sides, splits=splits, notes=(f"Of {HOME}/x only.",))


def compared() -> CompareResult:
    whole = leak()
    names = [field.name for field in dataclasses.fields(CompareResult) if field.name != "kind"]
    return CompareResult(**{name: getattr(whole, name) for name in names})


def recommended() -> RecommendResult:
    tracks = at_home(make_scan()).tracks
    answers = tuple(
        Recommended(track, 0.9, f"{HOME}/of.mp3", (f"{HOME}/b/{track.id}.mp3",)) for track in tracks
    )
    return RecommendResult({"of": (f"{HOME}/of.mp3",)}, answers, 10, MADE, notes=(f"{HOME}/x",))


RESULTS = {
    "scan": lambda: at_home(make_scan()),
    "check": lambda: at_home(make_check("shared excerpt", "clear")),
    "compare": lambda: at_home(compared()),
    "leak": lambda: at_home(leak()),
    "recommend": recommended,
}


@pytest.mark.parametrize("name", RESULTS)
def test_nothing_that_is_written_names_a_folder(name):
    result = RESULTS[name]()
    shown = redact_result(result)
    media = redact_media(make_media(result)) if name in ("scan", "check") else None
    whole = to_json(result) + to_csv(result)
    assert whole.count(USER) > 10
    for text in (to_json(shown), to_csv(shown), render_html(shown, media)):
        assert USER not in text
        assert "/home" not in text
    assert type(shown) is type(result)


def test_files_keep_their_names_and_folders_their_differences():
    result = at_home(make_scan())
    shown = redact_result(result)
    paths = [track.path for track in shown.tracks]
    assert [path.rpartition("/")[2] for path in paths] == [
        track.path.rpartition("/")[2] for track in result.tracks
    ]
    assert len({path.rpartition("/")[0] for path in paths}) == 2
    assert len(set(paths)) == len(paths)
    assert shown.pairs == result.pairs
    assert [s.path.startswith("folder-") for s in shown.skipped] == [True, True]
    assert redact_result(result) == shown


@pytest.mark.parametrize("command", ["audit scan '", "audit scan --x=/home/ana", "audit", ""])
def test_a_command_of_any_kind_loses_its_values(command):
    assert "ana" not in redact_command(command)


def test_a_map_has_no_links_and_no_workspace():
    atlas = make_atlas(12)
    atlas = dataclasses.replace(
        atlas, provenance=MADE, paths=tuple(f"{HOME}/{t.id}.mp3".encode() for t in atlas.tracks)
    )
    assert USER in render_map(atlas, f"{HOME}/reports/x") or USER in atlas.provenance.workspace
    page = render_map(redact_atlas(atlas), "reports")
    assert USER not in page
    assert all(link == "" for link in json.loads(_map_data(page))["links"])


def _map_data(page: str) -> str:
    return page.partition('id="map-data">')[2].partition("</script>")[0]


def test_audit_report_writes_a_redacted_copy(tmp_path):
    result = at_home(make_scan())
    _, json_path = write_report(result, tmp_path / "full", make_media(result))
    before = json_path.read_bytes()
    run = ["report", str(json_path), "--redact-paths"]
    refused = CliRunner().invoke(app, run)
    assert refused.exit_code == 2
    assert "Give another place for the redacted report" in refused.stderr
    done = CliRunner().invoke(app, [*run, "-o", str(tmp_path / "out" / "shown.html")])
    assert done.exit_code == 0, done.output
    assert json_path.read_bytes() == before
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["shown.csv", "shown.html", "shown.json", "shown.media.json"]
    for path in (tmp_path / "out").iterdir():
        assert USER not in path.read_text(encoding="utf-8"), path
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "shown.csv").read_text())))
    assert rows[0]["a_folder"].startswith("folder-")
