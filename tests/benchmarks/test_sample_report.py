"""Tests of the sample report: its plan, its music, and the page that stands in the repository."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sample_catalogue
import sample_report
from sample_catalogue import (
    COPIES,
    COVER,
    COVERED,
    EXCERPT_AT_S,
    EXCERPT_START_S,
    PIECES,
    Copy,
    Piece,
    inside_another,
    make_library,
    middle,
    write_track,
)
from sample_music import perform
from sample_report import LIBRARY, PAGE, compare, run_audit
from small_compositions import make_match

import auditor
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import AudioReader
from auditor.audio.isolated import load_waveform
from auditor.audio.tags import Tags, read_tags
from auditor.embedding.config import DEFAULT_EXTRACTOR
from auditor.embedding.extractor import find_weights
from auditor.errors import AuditError, UsageError
from auditor.records import (
    Compositions,
    DecisionKind,
    Pair,
    Provenance,
    ScanResult,
    ThresholdUse,
    Track,
    Verdict,
)

REPOSITORY = Path(__file__).resolve().parents[2]
SHORT_S = 10.0
_CASES = re.compile(r'id="pairs-data">(.*?)</script>', re.DOTALL)
_ENCODED = re.compile(r"[A-Za-z0-9+/=]{200,}")


def read_cases(page: str) -> list[tuple[frozenset[str], dict]]:
    """Return the two paths below the library and the fields of each case of a page."""
    data = json.loads(_CASES.search(page).group(1))
    path_of = [next(v for v in track[3] if v.startswith("/")) for track in data["tracks"]]
    return [
        (frozenset(re.sub(r"^.*/library/", "", path_of[case[side]]) for side in "ab"), case)
        for case in data["pairs"]
    ]


@pytest.fixture(scope="module")
def page() -> str:
    return (REPOSITORY / PAGE).read_text(encoding="utf-8")


# The plan.


def test_every_copy_is_of_a_piece_and_has_its_own_place():
    files = [piece.file for piece in PIECES]
    assert len({*files, COVER.file, *(c.file for c in COPIES)}) == len(PIECES) + len(COPIES) + 1
    assert {copy.original for copy in COPIES} <= set(files)
    assert len({copy.original for copy in COPIES}) == len(COPIES)
    assert {copy.verdict for copy in COPIES} == {verdict for verdict in Verdict if verdict.flagged}


def test_the_plan_shows_each_section_of_the_page():
    tags_of = {piece.file: piece.tags for piece in PIECES}
    assert [copy.decision for copy in COPIES if copy.decision] == ["licensed"]
    assert all(copy.decision in ("", *DecisionKind) for copy in COPIES)
    assert any(c.tags.licence and c.tags.licence != tags_of[c.original].licence for c in COPIES)
    for copy in COPIES:
        if copy.tags.date:  # so that the suggested original is the true one
            assert copy.tags.date > tags_of[copy.original].date


# The music.


def test_a_score_is_played_the_same_way_each_time():
    score = dataclasses.replace(PIECES[3].score, duration_s=SHORT_S)
    waveform = perform(score)
    assert waveform.shape == (SHORT_S * SAMPLE_RATE_HZ,)
    assert waveform.dtype == np.float32
    assert np.abs(waveform).max() == pytest.approx(0.8, abs=0.01)
    np.testing.assert_array_equal(waveform, perform(score))
    other = perform(dataclasses.replace(score, seed=score.seed + 1))
    assert abs(np.corrcoef(waveform, other)[0, 1]) < 0.3


def test_copies_hold_what_their_plan_says(monkeypatch):
    monkeypatch.setattr(
        sample_catalogue, "HOST", dataclasses.replace(sample_catalogue.HOST, duration_s=66.0)
    )
    noise = np.random.default_rng(0).normal(0.0, 0.1, round(76.0 * SAMPLE_RATE_HZ))
    long = noise.astype(np.float32)
    np.testing.assert_array_equal(middle(long), long[23 * SAMPLE_RATE_HZ : 53 * SAMPLE_RATE_HZ])
    host = inside_another(long)
    second, there = SAMPLE_RATE_HZ, round(EXCERPT_AT_S - EXCERPT_START_S) * SAMPLE_RATE_HZ
    inner = slice(round(EXCERPT_START_S + 1) * second, round(EXCERPT_START_S + 11) * second)
    moved = slice(inner.start + there, inner.stop + there)
    assert np.corrcoef(long[inner], host[moved])[0, 1] > 0.999
    before = slice(10 * second, 20 * second)
    assert abs(np.corrcoef(long[before], host[before])[0, 1]) < 0.3


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg", "opus"])
def test_tags_are_read_as_they_were_written(tmp_path, make_tune, suffix):
    tags = Tags("A – Title", "An Artist", "An Album", "Folk", "2012-06-08", "CC BY 4.0")
    path = tmp_path / "one folder" / f"track.{suffix}"
    write_track(path, make_tune(1, duration_s=1.0), tags)
    assert read_tags(path) == tags


def test_a_library_is_made_whole_once(tmp_path, monkeypatch):
    piece = Piece(
        "catalogue/An Artist/A Title.flac",
        Tags("A Title", "An Artist"),
        dataclasses.replace(PIECES[0].score, duration_s=SHORT_S),
    )
    copies = (
        Copy("uploads/same.flac", piece.file, "the same bytes", "identical file"),
        Copy("uploads/later.mp3", piece.file, "from 5 s on", "same recording",
             lambda waveform: waveform[5 * SAMPLE_RATE_HZ :], Tags("Later"), 64_000),
    )  # fmt: skip
    monkeypatch.setattr(sample_catalogue, "PIECES", (piece,))
    monkeypatch.setattr(sample_catalogue, "COPIES", copies)
    monkeypatch.setattr(
        sample_catalogue, "LIVE", dataclasses.replace(piece.score, seed=2, duration_s=SHORT_S)
    )
    folder = tmp_path / "library"
    make_library(folder)
    assert (folder / piece.file).read_bytes() == (folder / "uploads/same.flac").read_bytes()
    assert len(load_waveform(folder / "uploads/later.mp3")) == pytest.approx(
        (SHORT_S - 5) * SAMPLE_RATE_HZ, rel=0.02
    )
    assert read_tags(folder / "uploads/later.mp3") == Tags("Later")
    with AudioReader(folder / sample_catalogue.TRUNCATED) as reader:
        list(reader.blocks())
    assert reader.truncated
    assert not load_waveform(folder / sample_catalogue.SILENT).any()
    with pytest.raises(AuditError, match=r"readme\.mp3"):
        load_waveform(folder / sample_catalogue.NOT_AUDIO)
    with pytest.raises(UsageError, match="exists already.*--library"):
        make_library(folder)


# What the scan is held to.


PLANTED = ((COVER.file, COVERED.file),)


def make_result(
    pairs: dict[tuple[str, str], Pair],
    folder: Path,
    covers: Sequence[tuple[str, str]] = PLANTED,
) -> ScanResult:
    """Return a scan of tracks at the paths of ``pairs`` and ``covers``, with those pairs."""
    paths = sorted({path for both in (*pairs, *covers) for path in both})
    tracks = tuple(
        Track(path, str(folder / path), "0" * 64, 1, 60.0, 60.0, False, False, "mp3", "mp3",
              44100, 2, None)
        for path in paths
    )  # fmt: skip
    found = tuple(dataclasses.replace(p, a=a, b=b) for (a, b), p in pairs.items())
    return ScanResult(
        tracks=tracks,
        pairs=found,
        clusters=(),
        skipped=(),
        n_tracks=len(tracks),
        n_pairs_compared=len(found),
        search="exact",
        index_recall=None,
        histogram={},
        threshold=ThresholdUse(0.3, "by hand"),
        provenance=Provenance("0", "", "", "x", "0", ""),
        compositions=Compositions(tuple(make_match(a, b) for a, b in covers), 0.1, 1, 1, "", ""),
    )


def test_a_scan_that_finds_the_plan_differs_in_nothing(tmp_path):
    pairs = {
        (copy.file, copy.original): Pair(
            "", "", 0.9, flagged=not copy.decision, decision=copy.decision, verdict=copy.verdict
        )
        for copy in COPIES
    }
    pairs[PIECES[9].file, PIECES[10].file] = Pair(
        "", "", 0.1, flagged=False, verdict="sounds alike"
    )
    assert compare(make_result(pairs, tmp_path), tmp_path) == []


def test_a_scan_that_differs_from_the_plan_is_told(tmp_path):
    missed, wrong, undecided = COPIES[0], COPIES[1], COPIES[-1]
    pairs = {
        (copy.file, copy.original): Pair("", "", 0.9, flagged=True, verdict=copy.verdict)
        for copy in COPIES[1:]
    }
    pairs[wrong.file, wrong.original] = Pair("", "", 0.9, flagged=True, verdict="shared excerpt")
    pairs[PIECES[9].file, PIECES[10].file] = Pair("", "", 0.9, flagged=True, verdict="sounds alike")
    chance = (COVER.file, PIECES[0].file)
    said = compare(make_result(pairs, tmp_path, [chance]), tmp_path)
    assert len(said) == 6
    assert said[0].startswith(f"{missed.file}: not found")
    assert said[1] == f"{wrong.file}: 'shared excerpt'; 'same recording' was planted"
    assert said[2].startswith(f"{undecided.file}: decided as ''")
    assert said[3].endswith("sounds alike; not planted")
    assert said[4] == f"{COVER.file}: not found as a composition"
    assert said[5].endswith("same composition; not planted")


def test_a_command_that_fails_is_told(tmp_path):
    with pytest.raises(AuditError, match=r"exit code 2; \(0,\) was expected"):
        run_audit(tmp_path, "report", "nowhere.json")


# The page in the repository.


def test_the_page_holds_exactly_the_cases_that_were_planted(page):
    cases = dict(read_cases(page))
    shown = {both for both, case in cases.items() if not case.get("below") or case.get("decision")}
    assert shown == {frozenset((copy.file, copy.original)) for copy in COPIES}
    for copy in COPIES:
        case = cases[frozenset((copy.file, copy.original))]
        assert case["verdict"] == copy.verdict
        assert case.get("decision", "") == copy.decision
        assert case.get("note", "") == copy.note


def test_the_page_shows_the_cover_as_a_composition(page):
    assert "1 pair may be the same composition" in page
    assert 'id="composition-1"' in page and 'class="alignment"' in page


def test_the_page_is_of_todays_version(page):
    assert f"audit {auditor.__version__}" in page
    weights_id = find_weights(DEFAULT_EXTRACTOR).stem.rsplit("-", 1)[-1]
    assert weights_id in page
    for file in (sample_catalogue.TRUNCATED, sample_catalogue.SILENT, sample_catalogue.NOT_AUDIO):
        assert f"{LIBRARY}/{file}" in page


def test_the_page_links_to_no_file(page):
    data = json.loads(_CASES.search(page).group(1))
    assert {track[5] for track in data["tracks"]} == {""}
    assert ">open A</a>" not in page


def test_the_page_does_not_name_the_machine(page):
    text = _ENCODED.sub("", page)
    folders = re.findall(r"(?<![\w.:/)<*-])/(?!tmp/library\b)[A-Za-z][\w.-]*/[\w./-]*", text)
    assert folders == []
    assert str(REPOSITORY) not in text
    assert str(Path.home()) + "/" not in text
    name = platform.node()
    assert len(name) < 6 or name not in text


def test_the_page_is_small(page):
    assert len(page.encode()) < 4_000_000
    for name in ("report.png", "case.png"):
        picture = REPOSITORY / "docs/pictures" / name
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 200_000


@pytest.mark.slow
def test_the_page_can_be_made_again(tmp_path, page):
    pytest.importorskip("python_stretch")
    output = tmp_path / "sample.html"
    done = subprocess.run(
        [sys.executable, sample_report.__file__, "--output", str(output),
         "--library", str(tmp_path / "library")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "library").exists()
    again = {both: case for both, case in read_cases(output.read_text()) if not case.get("below")}
    kept = {both: case for both, case in read_cases(page) if not case.get("below")}
    assert {both: case["verdict"] for both, case in again.items()} == {
        both: case["verdict"] for both, case in kept.items()
    }
