"""The composition match of a scan and a check, with the shipped model, on sound."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from melodies import random_tune, sound_of

from auditor.api.check import check
from auditor.api.compositions import _one_recording
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.decisions.apply import in_order
from auditor.records import (
    CompositionVerdict,
    Decision,
    Evidence,
    Pair,
    result_from_json,
    to_json,
)
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


def test_a_second_scan_says_the_same(scanned):
    directory, result = scanned
    aligned = []
    with open_workspace(directory, write=True) as workspace:
        again = scan(workspace, on_composition=lambda *numbers: aligned.append(numbers))
    assert again.compositions == result.compositions
    assert aligned[-1] == (21, 21)  # of seven tracks with pitches
    assert aligned.count((21, 21)) == 1  # so that it is said once


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
