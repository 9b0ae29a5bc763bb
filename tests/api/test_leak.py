"""Leaks between splits: pairs, groups, shares, lists; duplicates and clips of one track apart."""

from __future__ import annotations

import csv
import io
import os
import shutil

import numpy as np
import pytest
from small_audit import (
    THRESHOLD,
    Log,
    calibrate_by_hand,
    facts,
    save_small_extractor,
    write_tune,
)

import auditor.ingest.prepare
from auditor.api.leak import find_leaks, mirrored
from auditor.api.run import Options
from auditor.api.split_lists import DropSide, files_to_remove
from auditor.errors import UsageError
from auditor.ingest.splits import find_splits, name_splits
from auditor.records import Evidence, LeakResult, MatchedRange, Pair, result_from_json, to_json
from auditor.report.leak_lists import grouped_tables, groups_csv, removal_csv
from auditor.scoring.cosine import Scorer
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=THRESHOLD, compositions=False)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three splits: 1 and 2 leak into test, 3 into val, 4 is twice in train, 5 to 8 are alone."""
    folder = tmp_path_factory.mktemp("data")
    for name, seed in (
        *(("train/1.wav", 1), ("train/2.flac", 2), ("train/3.wav", 3), ("train/4.wav", 4)),
        *(("train/4-again.mp3", 4), ("train/5.wav", 5)),
        *(("val/3.ogg", 3), ("val/6.wav", 6)),
        *(("test/2.mp3", 2), ("test/7=.wav", 7), ("test/8.wav", 8)),
    ):
        write_tune(folder / name, seed)
    shutil.copyfile(folder / "train/1.wav", folder / "test/one<b>.wav")
    return folder


@pytest.fixture
def workspace(tmp_path, weights):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(tmp_path / "ws", opened.weights_id)
        yield opened


@pytest.fixture(scope="module")
def found(tmp_path_factory, data, weights) -> LeakResult:
    with open_workspace(tmp_path_factory.mktemp("ws"), extractor=weights, write=True) as opened:
        return leaks(opened, data)


def leaks(workspace, data, **how) -> LeakResult:
    splits = name_splits(str(data / "train"), str(data / "test"), str(data / "val"))
    return find_leaks(workspace, splits, options=OPTIONS, **how)


def names(result, pairs) -> set[tuple[str, str]]:
    by_id = {track.id: os.path.basename(track.path) for track in result.tracks}
    return {(by_id[pair.a], by_id[pair.b]) for pair in pairs if pair.flagged}


LEAKS = {("1.wav", "one<b>.wav"), ("2.flac", "2.mp3"), ("3.wav", "3.ogg")}


def test_leaks_are_told_from_duplicates(found):
    assert len(found.catalogue_sha256) == 64
    assert names(found, found.pairs) == LEAKS
    assert {frozenset(pair) for pair in names(found, found.duplicates)} == {
        frozenset(("4.wav", "4-again.mp3"))
    }
    assert [(s.name, s.n_tracks, s.n_leaked) for s in found.splits] == [
        ("train", 6, 0),
        ("val", 2, 1),
        ("test", 4, 2),
    ]
    by_id = {track.id: os.path.basename(track.path) for track in found.tracks}
    groups = [(set(map(by_id.get, g.tracks)), g.splits, g.leak) for g in found.groups]
    assert (({"3.wav", "3.ogg"}, ("train", "val"), True)) in groups
    assert groups[-1] == ({"4.wav", "4-again.mp3"}, ("train",), False)
    assert result_from_json(to_json(found)) == found


def test_the_first_split_holds_seconds_of_the_others(found):
    held = {one.track: one for one in found.held}
    assert len(held) == 3
    assert sum(one.held_s for one in held.values()) == pytest.approx(
        sum(split.held_s for split in found.splits)
    )
    test = found.splits[2]
    assert test.held_s == pytest.approx(6.0, abs=0.5)
    assert test.duration_s == pytest.approx(12.0, abs=0.5)


@pytest.mark.parametrize(
    ("side", "removed"),
    [
        (DropSide.TEST, {"3.ogg", "2.mp3", "one<b>.wav"}),
        (DropSide.TRAIN, {"1.wav", "2.flac", "3.wav"}),
    ],
)
def test_without_the_removed_files_nothing_leaks(found, side, removed):
    files = files_to_remove(found, side)
    assert {os.path.basename(file.path) for file in files} == removed
    assert all(file.because_of != file.path and file.kept_split != file.split for file in files)
    text, n = removal_csv(found, side)
    assert n == 3
    assert removal_csv(found, side)[0] == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["split"] for row in rows] == [file.split for file in files]


def test_the_smaller_side_goes(found):
    gone = {file.id for file in files_to_remove(found, DropSide.SMALLER)}
    assert len(gone) == 3
    for pair in found.pairs:
        assert not pair.flagged or gone & {pair.a, pair.b}


def test_a_grouped_split_has_every_group_on_one_side(found, data):
    ids = {i: (f"/x/{i}.wav", "0" * 64) for i in found.split_of}
    text, parquet, n_moved = grouped_tables(found, ids)
    rows = list(csv.DictReader(io.StringIO(text)))
    side = {row["id"]: row["split"] for row in rows}
    assert len(rows) == 12
    for pair in (*found.pairs, *found.duplicates):
        assert side[pair.a] == side[pair.b]
    sizes = {name: list(side.values()).count(name) for name in ("train", "val", "test")}
    assert all(abs(sizes[split.name] - split.n_tracks) <= 1 for split in found.splits)
    assert n_moved == sum(row["split"] != row["split_before"] for row in rows)
    assert all(row["split"] == row["split_before"] for row in rows if row["group"] == "0")
    if parquet:
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(parquet))
        assert table["split"].to_pylist() == [row["split"] for row in rows]
        assert table["group"].to_pylist() == [int(row["group"]) for row in rows]


def test_groups_are_the_same_bytes_in_each_run(found, data, workspace):
    again = leaks(workspace, data)
    assert groups_csv(again) == groups_csv(found)
    rows = list(csv.DictReader(io.StringIO(groups_csv(found))))
    assert [row["kind"] for row in rows] == ["leak"] * 3 + ["duplicate"]
    assert {row["path_b"] for row in rows} >= {"test/one<b>.wav"}


def test_a_second_run_embeds_nothing(workspace, data, monkeypatch):
    first = leaks(workspace, data)
    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("again"))
    log = Log()
    assert facts(leaks(workspace, data, on_event=log)) == facts(first)
    assert set(log.outcomes.values()) == {"unchanged"}


def test_clips_of_one_track_that_share_no_sound_are_no_leak(workspace, data, tmp_path):
    for name, seed in (("train/a.mp3", 20), ("test/b.mp3", 21), ("test/c.mp3", 22)):
        write_tune(tmp_path / name, seed)
    tag(tmp_path / "train/a.mp3", "Ana", "Blue", "One")
    tag(tmp_path / "test/b.mp3", "ana", "Blue ", "One")
    tag(tmp_path / "test/c.mp3", "Ana", "Blue", "Two")
    splits = name_splits(str(tmp_path / "train"), str(tmp_path / "test"))
    result = find_leaks(workspace, splits, options=OPTIONS)
    assert not any(pair.flagged for pair in result.pairs)
    (clips,) = result.same_track
    assert (clips.artist.lower(), clips.title, len(clips.tracks)) == ("ana", "Blue", 2)
    text, _, _ = grouped_tables(result, {i: (i, "") for i in result.split_of})
    side = {row["id"]: row["split"] for row in csv.DictReader(io.StringIO(text))}
    assert len({side[i] for i in clips.tracks}) == 1


def tag(path, artist: str, title: str, album: str) -> None:
    from mutagen.easyid3 import EasyID3

    tags = EasyID3()
    tags.update({"artist": artist, "title": title, "album": album})
    tags.save(path)


def test_a_file_in_two_lists_leaks(workspace, data, tmp_path):
    (tmp_path / "splits.csv").write_text(
        "path,split\n"
        + "".join(
            f"{data}/{name},{split}\n"
            for name, split in (
                *(("train/1.wav", "train"), ("train/2.flac", "training")),
                *(("train/1.wav", "test"), ("test/8.wav", "test")),
            )
        )
    )
    splits = find_splits(str(tmp_path / "splits.csv"), unpack_to=tmp_path)
    result = find_leaks(workspace, splits, options=OPTIONS)
    assert not result.pairs
    assert list(result.listed_twice.values()) == [("train", "test")]
    assert [(s.name, s.n_tracks, s.n_leaked) for s in result.splits] == [
        ("train", 2, 0),
        ("test", 2, 1),
    ]
    assert result.splits[1].held_s == pytest.approx(3.0, abs=0.2)
    (file,) = files_to_remove(result, DropSide.TEST)
    assert (file.split, file.kept_split, file.verdict) == ("test", "train", "listed in both")


def test_a_split_inside_another_one_is_apart_from_it(workspace, data):
    splits = name_splits(str(data), str(data / "test"))
    result = find_leaks(workspace, splits, options=OPTIONS)
    assert [split.n_tracks for split in result.splits] == [8, 4]
    assert result.notes == ("test lies inside train: its files count as test only.",)
    assert not result.listed_twice
    assert names(result, result.pairs) == LEAKS - {("3.wav", "3.ogg")}


@pytest.mark.parametrize(
    ("train", "test", "match"),
    [
        ("train", "train", "train and test are the same 6 files"),
        ("train", "none", "none does not exist"),
        ("train", "@artist=Nobody", "holds no tracks"),
    ],
)
def test_bad_splits_are_named(workspace, data, monkeypatch, train, test, match):
    monkeypatch.chdir(data)
    with pytest.raises(UsageError, match=match):
        find_leaks(workspace, name_splits(train, test), options=OPTIONS)


def test_a_pair_is_mirrored_with_all_that_is_said():
    one = MatchedRange(1.0, 3.0, 10.0, 14.0, 2.0, 0.9, -1.5, 0.1, 0.8, 0.9)
    evidence = Evidence(0.9, (one,), 0.5, 0.25, 2.0, 0.1)
    pair = Pair("x", "y", 0.9, n_files_a=2, n_files_b=3, evidence=evidence)
    turned = mirrored(pair)
    assert (turned.a, turned.b, turned.n_files_a, turned.n_files_b) == ("y", "x", 3, 2)
    assert turned.evidence.ranges[0].a_start_s == 10.0
    assert turned.evidence.ranges[0].tempo == 0.5
    assert turned.evidence.ranges[0].pitch_semitones == 1.5
    assert (turned.evidence.share_a, turned.evidence.share_b) == (0.25, 0.5)
    assert mirrored(turned) == pair


def test_each_later_split_also_looks_for_earlier_ones_by_its_spectra(workspace, data, monkeypatch):
    asked = []
    compare = Scorer.compare

    def spy(self, ids, *args, by_spectra=(), **how):
        for way in by_spectra:
            left, right = (np.flatnonzero(mask).tolist() for mask in way.masks)
            asked.append(({ids[row] for row in left}, {ids[row] for row in right}))
        return compare(self, ids, *args, by_spectra=by_spectra, **how)

    monkeypatch.setattr(Scorer, "compare", spy)
    leaks(workspace, data)
    (val, before_val), (test, before_test) = asked
    assert [len(side) for side in (val, before_val, test, before_test)] == [2, 6, 4, 8]
    assert before_test == before_val | val
    assert not val & before_val
    assert len(test & before_test) == 1  # one<b>.wav has the bytes of 1.wav
