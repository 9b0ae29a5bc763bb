"""The composition match of a scan and a check, with the shipped model, on sound."""

from __future__ import annotations

import shutil
import sqlite3
import wave

import numpy as np
import pytest
from melodies import random_tune, sound_of

from auditor.api.check import check
from auditor.api.compositions import _one_recording
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.decisions.apply import in_order
from auditor.embedding.salience import load_pitch_model
from auditor.records import (
    CompositionVerdict,
    Decision,
    Evidence,
    Pair,
    result_from_json,
    to_json,
)
from auditor.scoring import composition, examined
from auditor.workspace import open_workspace

ORGAN = (1.0, 0.6, 0.4, 0.3, 0.2)
FLUTE = (1.0, 0.15, 0.05)


def write(path, sound):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((sound * 32_000).astype(np.int16).tobytes())


def version_of(seed):
    """Return the sound of a tune on another instrument, in another key and tempo."""
    notes = random_tune(seed, 60)
    return sound_of(notes, overtones=FLUTE, transposition=4, tempo=1.2, decay_s=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tunes")
    for seed in range(6):
        write(folder / f"tune{seed}.wav", sound_of(random_tune(seed, 60), overtones=ORGAN))
    write(folder / "version.wav", version_of(3))
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 30)
    write(folder / "noise.wav", np.clip(noise, -1, 1))
    return folder


@pytest.fixture(scope="module")
def scanned(folder, tmp_path_factory):
    """Workspace of all but the version, and the scan of everything in another one."""
    whole = tmp_path_factory.mktemp("whole")
    with open_workspace(whole, write=True) as workspace:
        return whole, scan(workspace, [folder])


def names(result, match):
    path_of = {track.id: track.path.rsplit("/", 1)[-1] for track in result.tracks}
    return {path_of[match.a], path_of[match.b]}


def test_the_version_heads_the_list(scanned):
    _, result = scanned
    first, *others = result.compositions.matches
    assert names(result, first) == {"tune3.wav", "version.wav"}
    assert first.verdict == CompositionVerdict.SAME_COMPOSITION
    assert first.transposition in (4, -4)
    assert first.tempo == pytest.approx(1.2, rel=0.06) or first.tempo == pytest.approx(
        1 / 1.2, rel=0.06
    )
    assert first.melody > 0.5
    assert first.flagged
    assert not any(match.flagged for match in others)
    assert first.score > 1.3 * max((match.score for match in others), default=0.0)


def test_what_has_no_pitched_music_is_named(scanned):
    _, result = scanned
    path_of = {track.id: track.path.rsplit("/", 1)[-1] for track in result.tracks}
    assert [path_of[each.track] for each in result.compositions.not_comparable] == ["noise.wav"]


def test_a_result_comes_back_from_json(scanned):
    _, result = scanned
    assert result_from_json(to_json(result)) == result


def aligned_in_scan(directory, *roots):
    """Return a scan, and the numbers of its progress of aligning pairs."""
    numbers = []
    with open_workspace(directory, write=True) as workspace:
        result = scan(workspace, roots, on_composition=lambda *n: numbers.append(n))
    return result, numbers


@pytest.fixture
def remembering(scanned, tmp_path):
    """A copy of the workspace, and the file that remembers what was aligned."""
    directory = shutil.copytree(scanned[0], tmp_path / "ws")
    return directory, directory / examined.FOLDER / f"{load_pitch_model().id}.sqlite3"


def test_a_second_scan_aligns_nothing_and_says_the_same(remembering, scanned):
    directory, file = remembering
    again, numbers = aligned_in_scan(directory)
    assert (again.compositions, numbers) == (scanned[1].compositions, [])
    file.unlink()
    again, numbers = aligned_in_scan(directory)
    assert again.compositions == scanned[1].compositions
    assert numbers[-1] == (21, 21)  # of seven tracks with pitches
    assert numbers.count((21, 21)) == 1  # so that it is said once


@pytest.mark.parametrize("n_exhaustive", [150, 3])
def test_only_what_is_new_is_aligned(scanned, folder, tmp_path, monkeypatch, n_exhaustive):
    monkeypatch.setattr(composition, "MAX_EXHAUSTIVE", n_exhaustive)
    monkeypatch.setattr(composition, "N_CANDIDATES", 3)
    directory = shutil.copytree(scanned[0], tmp_path / "ws")
    (directory / examined.FOLDER / f"{load_pitch_model().id}.sqlite3").unlink()
    more = tmp_path / "more"
    more.mkdir()
    write(more / "another.wav", version_of(1))
    before, _ = aligned_in_scan(directory)
    grown, numbers = aligned_in_scan(directory, more)
    fresh, all_numbers = aligned_in_scan(tmp_path / "fresh", folder, more)
    assert grown.compositions == fresh.compositions != before.compositions
    assert 0 < numbers[-1][1] < all_numbers[-1][1]
    if n_exhaustive > 3:
        assert (numbers[-1][1], all_numbers[-1][1]) == (7, 28)


@pytest.mark.parametrize("how", ["other bytes", "flipped bit", "other candidates", "other code"])
def test_what_cannot_be_trusted_is_aligned_again(remembering, scanned, monkeypatch, how):
    directory, file = remembering
    if how == "other code":
        monkeypatch.setattr(examined, "code_id", lambda: "another version")
    elif how == "other bytes":
        file.write_bytes(b"no database" * 1000)
    else:
        with sqlite3.connect(file) as connection:
            if how == "flipped bit":
                for key, value in connection.execute("SELECT key, value FROM pairs").fetchall():
                    other = bytes([value[0] ^ 64]) + value[1:]
                    connection.execute("UPDATE pairs SET value = ? WHERE key = ?", (other, key))
            else:
                connection.execute("UPDATE candidates SET value = x'00ff'")
        connection.close()
    again, numbers = aligned_in_scan(directory)
    assert again.compositions == scanned[1].compositions
    assert (numbers[-1] == (21, 21)) if how != "other candidates" else not numbers
    assert aligned_in_scan(directory)[1] == []  # it is kept again


def test_without_compositions_there_is_no_list(scanned):
    directory, result = scanned
    with open_workspace(directory, write=True) as workspace:
        plain = scan(workspace, options=Options(compositions=False))
    assert plain.compositions is None
    assert plain.pairs == result.pairs


def test_a_check_finds_the_versions(scanned, folder, tmp_path, monkeypatch):
    # So rigid a performance counts as a recording; here it is the list that matters.
    monkeypatch.setattr("auditor.api.compositions._one_recording", lambda _: lambda a, b: False)
    directory, _ = scanned
    submission = tmp_path / "submission.wav"
    write(submission, 0.8 * version_of(3))
    with open_workspace(directory, write=False) as workspace:
        result = check(workspace, [submission])
        alone = check(workspace, [submission, folder / "tune5.wav"])
    first, second = result.compositions.matches[:2]
    assert first.a == second.a == result.submissions[0].id
    path_of = {track.id: track.path.rsplit("/", 1)[-1] for track in result.tracks}
    assert [path_of[match.b] for match in (first, second)] == ["version.wav", "tune3.wav"]
    assert first.flagged
    assert second.flagged
    mine = [match for match in alone.compositions.matches if match.a == first.a]
    assert mine == [m for m in result.compositions.matches if m.a == first.a]


def test_a_decision_takes_a_line_out(scanned):
    directory, result = scanned
    first = result.compositions.matches[0]
    tracks = {track.id: track for track in result.tracks}
    hashes = in_order(tracks[first.a].sha256, tracks[first.b].sha256)
    with open_workspace(directory, write=True) as workspace:
        workspace.catalogue.import_decisions(
            [Decision(*hashes, "cover", "a cover", "2026-01-31T12:00:00.000000Z", "me")]
        )
        again = scan(workspace)
    same = again.compositions.matches[0]
    assert (same.pair_id, same.decision, same.flagged) == (first.pair_id, "cover", False)


def test_a_large_catalogue_is_compared_only_if_asked_for(scanned, monkeypatch):
    directory, result = scanned
    monkeypatch.setattr("auditor.api.compositions.MAX_SCANNED", 5)
    with open_workspace(directory, write=True) as workspace:
        plain = scan(workspace)
        asked = scan(workspace, options=Options(compositions=True))
    assert plain.compositions.matches == ()
    assert "--compositions" in plain.compositions.note
    assert [m.pair_id for m in asked.compositions.matches] == [
        m.pair_id for m in result.compositions.matches
    ]


def test_flagged_pairs_that_may_be_two_performances_are_compared_as_compositions():
    pairs = []
    for name, odds in (("b", None), ("c", -3.0), ("d", 2.5)):
        evidence = Evidence(0.9, (), 1.0, 1.0, 1.0, 0.2, played_apart=odds)
        pairs.append(Pair("a", name, 0.9, verdict="same recording", evidence=evidence))
    pairs.append(Pair("a", "e", 0.2, verdict="sounds alike"))
    shares = _one_recording(pairs)
    assert [shares(name, "a") for name in "bcde"] == [True, True, False, False]
