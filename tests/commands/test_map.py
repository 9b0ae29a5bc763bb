"""``audit map`` as it is typed: a page, where it goes, what it refuses."""

from __future__ import annotations

import re

import pytest
from small_audit import make_library, save_small_extractor
from typer.testing import CliRunner

from auditor.cli import app

AUDIBLE = 7


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, weights):
    """Return a workspace whose last scan flagged the copies of one tune; no test changes it."""
    folder = tmp_path_factory.mktemp("map")
    music = make_library(folder / "music")
    common = ("--extractor", weights, "-w", folder / "ws", "--no-report", "--threshold", "0.98")
    assert invoke("scan", music, *common, "--exit-zero").exit_code == 0
    return folder / "ws"


def test_a_map_is_written(tmp_path, scanned, weights):
    page = tmp_path / "map.html"
    result = invoke("map", "-w", scanned, "--extractor", weights, "-o", page)
    assert result.exit_code == 0, result.output
    said = re.fullmatch(r"map of 7 tracks, (\d+) flagged pairs: (.*) \(0\.\d MB\)\n", result.stdout)
    assert said[2] == str(page)
    assert int(said[1]) >= 1
    html = page.read_text(encoding="utf-8")
    assert f"Map of {AUDIBLE} tracks" in html
    assert "audit map" in html, "the command stands in the provenance"
    assert "note: Silent tracks left out" in result.stderr


def test_the_same_command_draws_the_same_map(tmp_path, scanned, weights):
    common = ("map", "-w", scanned, "--extractor", weights, "-q", "-o")
    data = []
    for name, *more in (("a",), ("b",), ("c", "--seed", "5")):
        result = invoke(*common, tmp_path / f"{name}.html", *more)
        assert result.exit_code == 0
        assert result.stderr == "note: Silent tracks left out of the map: 1.\n"  # a fact
        html = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        data.append(re.search(r'"positions":"([^"]*)"', html)[1])
    assert data[0] == data[1] != data[2]


def test_a_folder_gets_a_new_file(tmp_path, scanned, weights):
    common = ("map", "-w", scanned, "--extractor", weights, "-o", tmp_path, "--colour", "album")
    assert invoke(*common).exit_code == 0
    assert invoke(*common).exit_code == 0
    pages = sorted(tmp_path.iterdir())
    assert len(pages) == 2
    assert all(re.fullmatch(r"map-\d{8}-\d{6}(-2)?\.html", page.name) for page in pages)
    assert '<option value="album" selected>' in pages[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "map.json"), "map.json: a map is an HTML page"),
        (("--colour", "key"), "'key' is not one of"),
        (("--seed", "-1"), "'--seed'"),
        (("-w", "nowhere"), "nowhere"),
    ],
)
def test_it_refuses_with_2(scanned, weights, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("map", "-w", scanned, "--extractor", weights, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_catalogue_is_refused(tmp_path, weights):
    (tmp_path / "music").mkdir()
    workspace = tmp_path / "ws"
    invoke("scan", tmp_path / "music", "-w", workspace, "--extractor", weights, "--no-report")
    result = invoke("map", "-w", workspace, "--extractor", weights, "-o", tmp_path / "m.html")
    assert result.exit_code == 2
    assert "audit scan" in result.stderr
    assert not (tmp_path / "m.html").exists()
