"""Two collections: cross pairs only, nothing embedded twice, every kind of side, bad sides."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from small_audit import (
    THRESHOLD,
    Log,
    calibrate_by_hand,
    facts,
    ids_by_name,
    isrc,
    save_small_extractor,
    write_isrc,
    write_tune,
)

import auditor.ingest.prepare
from auditor.api.compare import compare
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.audio.files import hash_file
from auditor.commands.options import FailOn
from auditor.commands.running import exit_code
from auditor.decisions.apply import pair_id
from auditor.errors import CatalogueError, UsageError
from auditor.parallel import LocalTiles
from auditor.records import CompareResult, result_from_json, to_json
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=THRESHOLD)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Two folders: tunes 1 and 2 are in both, 1 twice on the left and once with the same bytes."""
    folder = tmp_path_factory.mktemp("music")
    for name, seed in (
        *(("a/1.wav", 1), ("a/1-again.flac", 1), ("a/2.wav", 2), ("a/3.ogg", 3)),
        *(("b/2.mp3", 2), ("b/4.wav", 4), ("b/5.wav", 5)),
    ):
        write_tune(folder / name, seed)
    shutil.copyfile(folder / "a/1.wav", folder / "b/one<b>.wav")
    return folder


@pytest.fixture
def workspace(tmp_path, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(tmp_path / "ws", opened.weights_id)
        yield opened


def names_of(result: CompareResult) -> set[tuple[str, str]]:
    by_id = {track.id: os.path.basename(track.path) for track in result.tracks}
    return {(by_id[pair.a], by_id[pair.b]) for pair in result.pairs if pair.flagged}


def identical_id(music) -> str:
    sha256 = hash_file(music / "a/1.wav")
    return pair_id(sha256, sha256)


CROSS = {("1.wav", "one<b>.wav"), ("1-again.flac", "one<b>.wav"), ("2.wav", "2.mp3")}


def test_only_pairs_across_are_found(workspace, music):
    result = compare(workspace, music / "a", music / "b", options=OPTIONS, command="audit compare")
    assert names_of(result) == CROSS
    assert [(c.given_as, c.n_tracks, c.n_contents) for c in result.collections] == [
        ("folder", 4, 4),
        ("folder", 4, 4),
    ]
    assert result.collections[0].duration_s == pytest.approx(12.0, abs=0.5)
    assert result.threshold.n_comparisons == result.n_pairs_compared == 15
    assert sum(result.histogram["counts"]) == 15
    assert [p.pair_id for p in result.pairs if p.identical_file] == [identical_id(music)]
    assert [p.n_files_a for p in result.pairs] == [1, 1, 1]
    assert not result.within
    assert len(result.clusters) == 2
    hashes = sorted({hash_file(file) for side in "ab" for file in (music / side).iterdir()})
    lines = "".join(f"{sha256}\n" for sha256 in hashes)
    assert result.catalogue_sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert result_from_json(to_json(result)) == result


def test_pairs_inside_a_side_are_found_where_asked_for(workspace, music):
    result = compare(workspace, music / "a", music / "b", options=OPTIONS, within=True)
    assert {frozenset(pair) for pair in names_of(result)} == {
        frozenset(("1.wav", "one<b>.wav")),
        frozenset(("1-again.flac", "1.wav")),
        frozenset(("2.wav", "2.mp3")),
    }
    assert result.within
    assert result.threshold.n_comparisons == 21  # of seven contents


def test_the_order_of_the_sides_is_that_of_the_pairs(workspace, music):
    turned = compare(workspace, music / "b", music / "a", options=OPTIONS)
    assert names_of(turned) == {(b, a) for a, b in CROSS}


def test_a_second_run_embeds_nothing_and_says_the_same(workspace, music, monkeypatch):
    first = compare(workspace, music / "a", music / "b", options=OPTIONS)
    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("again"))
    log = Log()
    again = compare(workspace, music / "a", music / "b", options=OPTIONS, on_event=log)
    assert facts(again) == facts(first)
    assert set(log.outcomes.values()) == {"unchanged"}
    assert facts(scan(workspace, options=OPTIONS))["n_tracks"] == 8


def test_processes_and_threads_say_the_same(workspace, music):
    first = compare(workspace, music / "a", music / "b", options=OPTIONS)
    with LocalTiles(2) as tiles:
        again = compare(workspace, music / "a", music / "b", options=OPTIONS, tiles=tiles)
    assert facts(again) == facts(first)


def test_lists_and_parts_of_the_workspace(workspace, music, tmp_path):
    compare(workspace, music / "a", music / "b", options=OPTIONS)
    listed = tmp_path / "list.csv"
    listed.write_text(f"path\n{music}/a/2.wav\n{music}/a/gone.wav\n")
    result = compare(workspace, listed, f"@folder={music}/b", options=OPTIONS)
    assert names_of(result) == {("2.wav", "2.mp3")}
    assert [c.given_as for c in result.collections] == ["list", "subset"]
    assert [(s.code, os.path.basename(s.path)) for s in result.skipped] == [
        ("not-found", "gone.wav")
    ]
    assert result.notes == ("1 entry does not exist and could not be compared.",)
    ids = ids_by_name(workspace.catalogue)
    some = f"@id={ids['2.wav']},{ids['3.ogg']}"
    by_id = compare(workspace, some, "@codec=mp3", options=OPTIONS)
    assert names_of(by_id) == {("2.wav", "2.mp3")}


def test_another_workspace_is_copied_and_not_embedded(
    workspace, music, tmp_path, weights, monkeypatch
):
    with open_workspace(tmp_path / "other", extractor=weights, write=True) as other:
        scan(other, [music / "b"], options=OPTIONS)
    compare_folders = compare(workspace, music / "a", music / "b", options=OPTIONS)
    fresh = tmp_path / "fresh"
    with open_workspace(fresh, extractor=weights, write=True) as opened:
        scan(opened, [music / "a"], options=OPTIONS)
        monkeypatch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("again"))
        result = compare(opened, music / "a", tmp_path / "other", options=OPTIONS)
        assert names_of(result) == names_of(compare_folders)
        assert [c.given_as for c in result.collections] == ["folder", "workspace"]
        n_tracks = len(opened.catalogue.tracks())
        again = compare(opened, music / "a", f"{tmp_path}/other@codec=mp3", options=OPTIONS)
        assert names_of(again) == {("2.wav", "2.mp3")}
        assert len(opened.catalogue.tracks()) == n_tracks == 8
        assert opened.catalogue.verify() == []
    with open_workspace(tmp_path / "part", extractor=weights, write=True) as opened:
        monkeypatch.undo()
        compare(opened, music / "a", f"{tmp_path}/other@codec=mp3", options=OPTIONS)
        assert len(opened.catalogue.tracks()) == 5, "only what was picked is copied"


def test_a_file_in_both_is_not_compared_with_itself(workspace, music):
    result = compare(workspace, music, music / "b", options=OPTIONS)
    assert result.n_shared == 4
    assert names_of(result) == CROSS
    assert result.notes[0].startswith("4 files are in both collections")


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        ("a", "a", "are the same 4 files. To compare a collection with itself, run: audit scan"),
        ("a", "none", "none does not exist. Give a folder of music, a list"),
        ("a", "empty", "empty: no audio file was found"),
        ("a", "hush", "nothing to compare: none of its 1 files contains usable sound"),
        ("a", "text", "nothing to compare: none of its 1 files contains usable sound"),
        ("a", "@mood=sad", "'mood=sad' selects no tracks"),
        ("a", "@artist=Nobody", "holds no tracks"),
        ("a", "@id=zzz", "no track has the id 'zzz'"),
        ("a", "x@y=z", "x is no workspace, and nothing of the whole name exists"),
        ("a", "missing.csv", "none of its 1 entries exists"),
        ("a", "empty.csv", "it is empty"),
    ],
)
def test_bad_sides_are_named(workspace, music, tmp_path, first, second, match, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(music / "a", tmp_path / "a")
    (tmp_path / "empty").mkdir()
    write_tune(tmp_path / "hush" / "hush.wav", 1)
    write_audio(tmp_path / "hush/hush.wav", np.zeros(3 * SAMPLE_RATE_HZ, np.float32), codec="wav")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "x.mp3").write_text("no music")
    (tmp_path / "missing.csv").write_text("path\ngone.mp3\n")
    (tmp_path / "empty.csv").write_text("path\n")
    with pytest.raises((UsageError, CatalogueError), match=match):
        compare(workspace, first, second, options=OPTIONS)


def test_decisions_and_owners_hold(workspace, music):
    first = compare(workspace, music / "a", music / "b", options=OPTIONS)
    tracks = {track.id: track for track in first.tracks}
    pair = first.pairs[0]
    workspace.catalogue.decide(tracks[pair.a].sha256, tracks[pair.b].sha256, "licensed")
    again = compare(workspace, music / "a", music / "b", options=OPTIONS)
    decided = [p for p in again.pairs if p.decision]
    assert [(p.a, p.b, p.flagged) for p in decided] == [(pair.a, pair.b, False)]


def test_identifiers_are_compared_across(workspace, tmp_path):
    names = {
        **{"a/1.wav": (1, 1), "a/2.wav": (2, 2), "a/3.wav": (3, 3), "a/3-also.wav": (4, 3)},
        **{"b/1.mp3": (1, 7), "b/2.mp3": (2, 2), "b/5.mp3": (5, 2)},
    }
    for name, (seed, number) in names.items():
        write_isrc(write_tune(tmp_path / name, seed), number)
    sides = tmp_path / "a", tmp_path / "b"
    result = compare(workspace, *sides, options=OPTIONS)
    by_id = {track.id: os.path.basename(track.path) for track in result.tracks}

    def named(found):
        return [
            (entry.identifier, [[by_id[i] for i in group] for group in entry.groups])
            for entry in found.shared
        ]

    found = result.identifiers
    assert found.n_tracks == 7
    assert named(found) == [(isrc(2), [["2.wav", "2.mp3"], ["5.mp3"]])]
    assert [(by_id[d.a], by_id[d.b]) for d in found.differing] == [("1.wav", "1.mp3")]
    unflagged = dataclasses.replace(result, pairs=())
    assert exit_code(unflagged) == 0
    assert exit_code(unflagged, [FailOn.RECORDING, FailOn.IDENTIFIER]) == 1
    result = compare(workspace, *sides, options=OPTIONS, within=True)
    by_id = {track.id: os.path.basename(track.path) for track in result.tracks}
    assert {identifier for identifier, _ in named(result.identifiers)} == {isrc(2), isrc(3)}
    assert result_from_json(to_json(result)) == result


def test_the_budget_is_that_of_the_cross_pairs(workspace, music):
    result = compare(workspace, music / "a", music / "b", options=Options(max_false=0.0015))
    assert result.threshold.threshold == THRESHOLD
    assert result.threshold.expected_false_pairs == pytest.approx(1e-4 * 15)


KILL = """
import os, signal, sys
from auditor.api.compare import compare
from auditor.api.run import Options
from auditor.workspace import open_workspace

folder, weights, a, b, n, threshold = sys.argv[1:]

def on_event(event):
    if event.n_done == int(n):
        os.kill(os.getpid(), signal.SIGKILL)

with open_workspace(folder, extractor=weights, write=True) as workspace:
    compare(workspace, a, b, options=Options(threshold=float(threshold)), on_event=on_event)
"""


def test_a_killed_comparison_resumes_to_the_same_result(workspace, music, tmp_path, weights):
    (workspace.directory / "thresholds" / "small.json").unlink()
    whole = compare(workspace, music / "a", music / "b", options=OPTIONS)
    given = (tmp_path / "killed", weights, music / "a", music / "b", 5, THRESHOLD)
    killed = subprocess.run([sys.executable, "-c", KILL, *map(str, given)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    log = Log()
    with open_workspace(tmp_path / "killed", extractor=weights, write=True) as resumed:
        result = compare(resumed, music / "a", music / "b", options=OPTIONS, on_event=log)
    assert len(log.names("unchanged")) == 5
    assert facts(result) == facts(whole)


def test_copies_on_one_side_do_not_fill_the_places_of_the_other(workspace, music, tmp_path):
    for i in range(7):
        write_tune(tmp_path / f"many/{i}.wav", 1, duration_s=3.0 - 0.01 * i)
    result = compare(workspace, tmp_path / "many", music / "a", options=OPTIONS)
    ones = {(f"{i}.wav", name) for i in range(7) for name in ("1.wav", "1-again.flac")}
    assert names_of(result) == ones
    assert result.n_tracks == 11
