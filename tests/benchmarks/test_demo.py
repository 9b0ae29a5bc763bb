"""Tests of the demo: the copies it plants, and what it says was found of them."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import sys
from pathlib import Path

import demo
import numpy as np
import pytest
from demo_catalogue import PLANTS, Plant, get_music, plant_copies
from synthetic_music import FORMATS, synthesise_track
from tunes import tune

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import AudioReader, write_audio
from auditor.audio.isolated import load_waveform
from auditor.errors import UsageError
from auditor.records import CheckResult, Pair, Provenance, ScanResult, ThresholdUse, Track

PIECE_S = 41.0


def write_pieces(folder: Path, n_tracks: int) -> None:
    """Write tunes in the formats of the pieces that the demo synthesises."""
    folder.mkdir()
    for number in range(1, n_tracks + 1):
        suffix, codec, bit_rate = FORMATS[number % len(FORMATS)]
        piece = np.resize(tune(number, duration_s=10.0), round(PIECE_S * SAMPLE_RATE_HZ))
        write_audio(folder / f"piece-{number:02}.{suffix}", piece, codec=codec, bit_rate=bit_rate)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Plant copies in a folder of pieces; return the working folder, the music and the plants."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "demo").mkdir()
        write_pieces(Path("pieces"), len(PLANTS))
        return folder, Path("pieces"), plant_copies(Path("pieces"))


def make_result(pairs, paths):
    """Return a scan whose tracks have the given paths and whose pairs name them by letter."""
    tracks = tuple(
        Track(letter, path, "0" * 64, 1, 60.0, 60.0, False, False, "mp3", "mp3", 44100, 2, None)
        for letter, path in paths.items()
    )
    return ScanResult(
        tracks=tracks,
        pairs=tuple(Pair(*pair) for pair in pairs),
        clusters=(),
        skipped=(),
        n_tracks=len(tracks),
        n_pairs_compared=10,
        search="exact",
        index_recall=None,
        histogram={},
        threshold=ThresholdUse(0.9, "by hand"),
        provenance=Provenance("0", "", "", "x", "0", ""),
    )


def test_copies_are_what_they_are_said_to_be(planted):
    _, _, plants = planted
    re_encoded, excerpt, same, quieter, faster, partial, submission = plants
    assert len({plant.original for plant in plants}) == len(PLANTS)
    with AudioReader(re_encoded.file) as reader:
        assert reader.info.codec == "mp3"
        assert reader.info.bit_rate == pytest.approx(32_000, rel=0.1)
    assert len(load_waveform(excerpt.file)) == pytest.approx(30 * 16_000, rel=0.01)
    digests = {hashlib.sha256(Path(p).read_bytes()).digest() for p in (same.file, same.original)}
    assert len(digests) == 1
    assert Path(same.file).suffix == Path(same.original).suffix
    levels = [np.std(load_waveform(path)) for path in (quieter.file, quieter.original)]
    assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(-12.0, abs=0.2)
    lengths = [len(load_waveform(path)) for path in (faster.original, faster.file)]
    assert lengths[0] / lengths[1] == pytest.approx(1.05, rel=0.01)
    held, original = load_waveform(partial.file), load_waveform(partial.original)
    third = len(original) // 3
    heard = held[42 * 16_000 : 50 * 16_000]
    there = original[third + 2 * 16_000 : third + 10 * 16_000]
    assert np.corrcoef(heard, there[: len(heard)])[0, 1] > 0.7
    assert len(load_waveform(submission.file)) == pytest.approx((PIECE_S - 5) * 16_000, rel=0.01)
    assert Path(submission.file).parent.name == "new"


def test_second_run_keeps_copies_and_other_music_replaces_them(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("demo_catalogue.PLANTS", PLANTS[1:4])
    (tmp_path / "demo").mkdir()
    folder, music = tmp_path, Path("pieces")
    shutil.copytree(planted[0] / planted[1], music)
    plants = plant_copies(music)
    assert len(plants) == 3
    before = Path(plants[0].file).stat().st_mtime_ns
    assert plant_copies(music) == plants
    assert Path(plants[0].file).stat().st_mtime_ns == before
    (folder / "other").mkdir()
    for path in music.iterdir():
        (folder / "other" / path.name).write_bytes(path.read_bytes())
    moved = plant_copies(folder / "other")
    assert all(Path(plant.original).parent.name == "other" for plant in moved)
    assert plant_copies(music) == plants


def test_a_folder_of_too_few_tracks_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_pieces(tmp_path / "few", 2)
    with pytest.raises(UsageError, match=r"has 2 tracks of 40 s .* 7 are needed"):
        plant_copies(tmp_path / "few")
    with pytest.raises(UsageError, match="is no folder"):
        get_music(str(tmp_path / "none"))


@pytest.mark.skipif(sys.platform == "win32", reason="the demo looks for apt-get")
def test_without_packages_the_demo_says_that_it_synthesises(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without apt-get
    monkeypatch.setattr("demo_catalogue.N_SYNTHETIC", 1)
    music = get_music(None)
    said = " ".join(capsys.readouterr().out.split())
    assert "No Debian package could be had: there is no apt-get here." in said
    assert "synthesises in demo/synthetic/" in said
    assert [path.name for path in music.iterdir()] == ["piece-01.mp3"]


def test_comparison_tells_planted_known_and_other_pairs_apart():
    plants = [Plant("/p/1.mp3", "/m/a.ogg", "mp3"), Plant("/p/2.opus", "/m/b.ogg", "excerpt")]
    paths = {"a": "/m/a.ogg", "b": "/m/b.ogg", "c": "/m/c.ogg", "d": "/m/d.ogg", "p": "/p/1.mp3"}
    pairs = [("a", "p", 0.99), ("c", "p", 0.97), ("a", "c", 0.96), ("b", "d", 0.95)]
    known = {frozenset(("m/a.ogg", "m/c.ogg"))}
    comparison = demo.compare(make_result(pairs, paths), plants, known)
    assert comparison.found == {plants[0]: 0.99}
    assert comparison.missed == (plants[1],)
    assert [score for score, *_ in comparison.known] == [0.97, 0.96]
    assert comparison.others == ((0.95, "/m/b.ogg", "/m/d.ogg"),)
    said = "\n".join(demo.say_scan(comparison, 0.9))
    assert "Found 1 of the 2 planted copies" in said
    assert "missed   below   /p/2.opus: excerpt" in said
    assert "Flagged and not planted: 1\n  0.9500  /m/b.ogg  /m/d.ogg" in said


def test_comparison_of_a_perfect_scan_claims_nothing_more():
    plant = Plant("/p/1.mp3", "/m/a.ogg", "mp3")
    result = make_result([("a", "p", 0.99)], {"a": "/m/a.ogg", "p": "/p/1.mp3"})
    said = "\n".join(demo.say_scan(demo.compare(result, [plant]), 0.9))
    assert "Found 1 of the 1 planted copies" in said
    assert "Flagged and not planted: 0" in said
    assert "missed" not in said


@pytest.mark.parametrize(
    ("nearest", "flagged", "said"),
    [
        ("/m/a.ogg", True, "Its original is the nearest track: score 0.9500, flagged."),
        ("/m/a.ogg", False, "below the threshold, so not flagged"),
        ("/m/b.ogg", True, "/m/a.ogg is not the nearest track: that is /m/b.ogg"),
    ],
)
def test_check_is_told_as_it_came_out(nearest, flagged, said):
    scan = make_result([], {"n": nearest})
    fields = {field.name for field in dataclasses.fields(CheckResult)} - {"kind", "submissions"}
    shared = {name: getattr(scan, name) for name in fields if hasattr(scan, name)}
    shared["pairs"] = (Pair("new", "n", 0.95, flagged=flagged),)
    result = CheckResult(submissions=(), **shared)
    assert said in demo.say_check(result, Plant("/new/x.m4a", "/m/a.ogg", "duller"))


def test_pieces_are_reproducible_and_differ():
    first, again, other = (synthesise_track(seed, duration_s=5.0) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.shape == (80_000,)
    assert np.array_equal(first, again)
    assert np.abs(first).max() == pytest.approx(0.8, abs=1e-6)
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.2
