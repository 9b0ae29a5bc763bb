"""Scan and check: pairs, clusters, resumption after a kill, the index, submissions, FMA."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_audit import (
    THRESHOLD,
    Log,
    calibrate_by_hand,
    facts,
    ids_by_name,
    isrc,
    make_library,
    save_small_extractor,
    write_isrc,
    write_tune,
)

import auditor
import auditor.ingest.prepare
import auditor.ingest.session
import auditor.scoring.candidates
import auditor.scoring.cosine
from auditor.api.check import check
from auditor.api.run import Options, open_threshold
from auditor.api.scan import scan
from auditor.audio.encode import write_audio
from auditor.audio.tags import Tags
from auditor.calibration.rates import OperatingPoint, RateTable
from auditor.calibration.thresholds import load_thresholds, save_thresholds
from auditor.catalogue.sources import n_pairs_of_one_source, track_sources
from auditor.errors import CatalogueError, IndexFileError, ThresholdError, UsageError
from auditor.parallel import LocalTiles
from auditor.records import SharedIdentifier, ThresholdUse, result_from_json, to_json
from auditor.report.results_csv import to_csv
from auditor.report.text.general import compared_with_nothing, headline
from auditor.report.write import write_report
from auditor.scoring.base import open_scorer
from auditor.scoring.identifiers import conflicts_of
from auditor.scoring.track_reader import CatalogueReader
from auditor.workspace import open_workspace

OPTIONS = Options(threshold=THRESHOLD, compositions=False)
ANNOY = Options(threshold=THRESHOLD, search="annoy", compositions=False)
ALL_FLAGGED = Options(threshold=-1.0)
N_PAIRS = 15
"""Pairs of the library's seven audible tracks, two of which are one content."""


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return save_small_extractor(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Return the library; tests that change it take a copy."""
    return make_library(tmp_path_factory.mktemp("library") / "music")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, library, weights):
    """Return the folder of a workspace with the library, calibrated; tests only read it."""
    folder = tmp_path_factory.mktemp("scanned") / "ws"
    with open_workspace(folder, extractor=weights, write=True) as workspace:
        calibrate_by_hand(folder, workspace.weights_id)
        scan(workspace, [library])
    return folder


@pytest.fixture
def reader(scanned, weights):
    with open_workspace(scanned, extractor=weights, write=False) as workspace:
        yield workspace


@pytest.fixture
def workspace(tmp_path, scanned, weights):
    """Return a copy of the scanned workspace, open for writing."""
    shutil.copytree(scanned, tmp_path / "ws")
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as opened:
        yield opened


def run(folder, weights, *roots, options=OPTIONS, **how):
    with open_workspace(folder, extractor=weights, write=True) as workspace:
        return scan(workspace, roots, options=options, **how)


# Scan.


def test_scan_finds_the_planted_pairs_and_nothing_else(workspace, library, weights):
    result = scan(
        workspace, [library], options=Options(compositions=False), command="audit scan music"
    )
    ids = ids_by_name(workspace.catalogue)
    a, same, again = ids["a.wav"], ids["a-same.wav"], ids["a-again.mp3"]
    found = {(pair.a, pair.b): pair for pair in result.pairs}
    assert set(found) == {tuple(sorted(p)) for p in ((a, same), (a, again))}
    assert result.pairs[0].score == 1.0
    assert [pair.identical_file for pair in result.pairs] == [True, False]
    assert {(p.n_files_a, p.n_files_b) for p in result.pairs} == {(2, 2), (1, 2)}
    assert [group.tracks for group in result.identical] == [tuple(sorted((a, same)))]
    assert all(pair.flagged and pair.score >= THRESHOLD for pair in result.pairs)
    scores = [pair.score for pair in result.pairs]
    assert scores == sorted(scores, reverse=True)

    (cluster,) = result.clusters
    assert cluster.tracks == tuple(sorted((a, same, again)))
    assert cluster.highest_score == scores[0]
    assert (result.n_tracks, result.n_pairs_compared) == (7, N_PAIRS)
    assert sum(result.histogram["counts"]) == N_PAIRS
    assert len(result.histogram["edges"]) == len(result.histogram["counts"]) + 1
    assert (result.search, result.index_recall, result.skipped) == ("exact", None, ())
    assert {t.id for t in result.tracks} == {a, same, again, ids["hush.wav"]}
    assert [t.id for t in result.tracks if t.silent] == [ids["hush.wav"]]

    assert result.threshold.threshold == THRESHOLD
    assert result.threshold.source == "small.json (tunes)"
    assert result.threshold.expected_false_pairs == pytest.approx(1e-4 * N_PAIRS)
    assert (result.threshold.expected_low, result.threshold.expected_high) == (0, 0)
    assert (result.threshold.budget, result.threshold.n_comparisons) == (1.0, N_PAIRS)
    made = result.provenance
    assert (made.version, made.command) == (auditor.__version__, "audit scan music")
    assert (made.extractor, made.weights_id) == ("small", weights.stem[-8:])
    assert made.created.endswith("Z")
    assert made.workspace == str(workspace.directory)
    assert result_from_json(to_json(result)) == result


def test_identifiers_of_tags_are_compared_with_what_was_found(tmp_path, workspace):
    music = make_library(tmp_path / "music")
    for name, number in (("a.wav", 1), ("sub/a-again.mp3", 2), ("b.wav", 3), ("c.flac", 3)):
        write_isrc(music / name, number)
    result = scan(workspace, [music], options=Options(compositions=False))
    tracks = workspace.catalogue.tracks()
    ids = {os.path.basename(t.path): t.id for t in tracks if t.path.startswith(f"{music}/")}
    found = result.identifiers
    assert found.n_tracks == 4
    expected = tuple(sorted(((ids["b.wav"],), (ids["c.flac"],))))
    assert [(s.identifier, s.groups) for s in found.shared] == [(isrc(3), expected)]
    assert {ids["b.wav"], ids["c.flac"]} <= {track.id for track in result.tracks}
    (differing,) = found.differing
    assert {differing.a, differing.b} == {ids["a.wav"], ids["a-again.mp3"]}
    assert {*differing.identifiers_a, *differing.identifiers_b} == {isrc(1), isrc(2)}
    assert result_from_json(to_json(result)) == result


def test_tags_of_known_files_are_read_again_on_request(workspace, library, monkeypatch):
    name = ids_by_name(workspace.catalogue)["b.wav"]
    tags = Tags(title="Given", identifiers=("isrc:USRC10000001",), record_label="A Label")
    monkeypatch.setattr("auditor.ingest.session.read_tags", lambda path: tags)
    scan(workspace, [library], options=OPTIONS)
    assert workspace.catalogue.track(name).identifiers == ()
    log = Log()
    scan(workspace, [library], options=OPTIONS, reread_tags=True, on_event=log)
    assert len(log.names("unchanged")) == 8
    track = workspace.catalogue.track(name)
    assert (track.title, track.record_label) == ("Given", "A Label")
    assert track.identifiers == ("isrc:USRC10000001",)


def test_a_second_scan_decodes_nothing_and_says_the_same(workspace, library, monkeypatch):
    first = scan(workspace, [library])
    monkeypatch.setattr(
        auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("decoded again")
    )
    monkeypatch.setattr(auditor.ingest.session, "hash_file", lambda *a: pytest.fail("read again"))
    log = Log()
    assert facts(scan(workspace, [library], on_event=log)) == facts(first)
    assert set(log.outcomes.values()) == {"unchanged"}
    assert facts(scan(workspace)) == facts(first), "without folders it is the catalogue as it is"


def test_a_fresh_workspace_gives_the_same_result(tmp_path, workspace, library, weights):
    calibrated = scan(workspace, [library], options=OPTIONS)
    shutil.rmtree(workspace.directory / "index")
    calibrate_by_hand(tmp_path / "fresh", workspace.weights_id)
    assert facts(run(tmp_path / "fresh", weights, library)) == facts(calibrated)


KILL = """
import os, signal, sys, threading
from auditor.api.run import Options
from auditor.api.scan import scan
from auditor.workspace import open_workspace

folder, weights, library, n, delay_s, threshold = sys.argv[1:]

def on_event(event):
    if event.n_done == int(n):
        threading.Timer(float(delay_s), os.kill, (os.getpid(), signal.SIGKILL)).start()

with open_workspace(folder, extractor=weights, write=True) as workspace:
    scan(workspace, [library], options=Options(threshold=float(threshold)), on_event=on_event)
"""


@pytest.mark.parametrize(("n_done", "delay_s"), [(3, 0.005)])
def test_a_killed_scan_resumes_to_the_same_result(
    tmp_path, workspace, library, weights, n_done, delay_s
):
    (workspace.directory / "thresholds" / "small.json").unlink()
    whole = scan(workspace, [library], options=OPTIONS)
    given = (tmp_path / "killed", weights, library, n_done, delay_s, THRESHOLD)
    arguments = [str(argument) for argument in given]
    killed = subprocess.run([sys.executable, "-c", KILL, *arguments], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    log = Log()
    resumed = run(tmp_path / "killed", weights, library, on_event=log)
    assert n_done <= len(log.names("unchanged")) < len(log.outcomes)
    assert log.names("skipped") == []
    assert facts(resumed) == facts(whole)


def test_deleted_files_are_reported_and_leave_the_pairs(tmp_path, workspace, library):
    music = shutil.copytree(library, tmp_path / "music", copy_function=shutil.copy2)
    scan(workspace, [music])
    before = workspace.catalogue.tracks()
    assert len(before) == 16, "two folders with the same bytes are two sets of tracks"
    shutil.rmtree(music / "sub")
    result = scan(workspace, [music])
    gone = {t.path for t in result.tracks if t.missing}
    assert gone == {str(music / "sub" / name) for name in ("a-again.mp3", "a-same.wav", "d.ogg")}
    in_pairs = {track_id for pair in result.pairs for track_id in (pair.a, pair.b)}
    assert not in_pairs & {t.id for t in result.tracks if t.missing}
    assert result.n_tracks == 14 - 3


def test_skipped_files_of_earlier_scans_are_still_told(tmp_path, workspace, library):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.mp3").write_bytes(b"nothing to hear" * 50)
    first = scan(workspace, [tmp_path / "bad"])
    assert [os.path.basename(s.path) for s in first.skipped] == ["x.mp3"]
    again = scan(workspace, [library])
    assert again.skipped == first.skipped
    (tmp_path / "bad" / "x.mp3").unlink()
    assert scan(workspace, [library]).skipped == ()


def test_threshold_edges_are_inclusive(workspace):
    score = scan(workspace).pairs[1].score
    assert len(scan(workspace, options=Options(threshold=score)).pairs) == 2
    above = float(np.nextafter(score, 2.0))
    assert len(scan(workspace, options=Options(threshold=above)).pairs) == 1


def test_scan_refuses_before_it_decodes(tmp_path, weights, library, monkeypatch):
    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("decoded"))
    with pytest.raises(ThresholdError, match="no threshold is calibrated for weights"):
        run(tmp_path / "ws", weights, library, options=Options())
    with pytest.raises(UsageError, match=r"tracks\.csv: No such file"):
        run(tmp_path / "ws", weights, library, fma=tmp_path)
    with pytest.raises(CatalogueError, match="holds no track embedded by small"):
        run(tmp_path / "ws", weights)
    with pytest.raises(ValueError, match="search is 'both'"):
        Options(search="both")


@pytest.mark.parametrize("how", [OPTIONS, ANNOY])
def test_of_more_pairs_than_a_report_can_hold_the_best_are_listed(workspace, monkeypatch, how):
    embeddings = np.eye(1, 32, dtype=np.float32).repeat(40, 0)
    ids = [f"t{i:02}" for i in range(40)]
    monkeypatch.setattr(auditor.scoring.cosine, "MAX_PAIRS", 70)
    found = similar_pairs(workspace, ids, embeddings, threshold=0.5, search=how.search)
    assert len(found.scores) == 70
    order = list(zip(-found.scores, found.rows_a, found.rows_b, strict=True))
    assert order == sorted(order)
    more = "710" if how is OPTIONS else "at least [0-9]+"
    assert re.fullmatch(
        rf"The best 70 pairs are listed; {more} more score 0\.5 or above\.", found.left_out
    )


@pytest.mark.parametrize("own", [False, True])
def test_a_check_lists_the_best_pairs_and_counts_the_others(workspace, monkeypatch, own):
    rng = np.random.default_rng(0)
    embeddings = np.abs(rng.normal(size=(50, 32))).astype(np.float32)
    embeddings[3] = -embeddings[3]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    ids = [f"t{i:02}" for i in range(50)]
    rows = [5, 3, 9]

    def run():
        return auditor.scoring.cosine.similar_tracks(
            workspace,
            embeddings[rows],
            rows if own else [-1] * 3,
            ids,
            embeddings,
            threshold=0.2,
            search="exact",
        )

    every = run()
    reach = every.scores >= 0.2
    order = np.lexsort((every.rows_b, every.rows_a, -every.scores))
    wanted = order[reach[order]][:10]
    monkeypatch.setattr(auditor.scoring.cosine, "MAX_PAIRS", 12 if own else 10)
    best = run()
    n_reach, held = int(reach.sum()), best.scores >= 0.2
    said = re.fullmatch(
        r"The best (\d+) pairs are listed; (\d+) more score 0\.2 or above\.", best.left_out
    )
    n_held, n_more = map(int, said.groups())
    assert n_held + n_more == n_reach and best.n_compared == every.n_compared
    pairs = set(zip(best.rows_a[held].tolist(), best.rows_b[held].tolist(), strict=True))
    top = set(zip(every.rows_a[wanted].tolist(), every.rows_b[wanted].tolist(), strict=True))
    assert pairs == top if not own else pairs <= top
    assert set(best.rows_a.tolist()) == {0, 1, 2}, "each submission has its nearest track"
    if own:
        assert not np.any(best.rows_b == np.asarray(rows)[best.rows_a])


def test_more_pairs_than_can_be_listed_are_reported_and_flagged(
    tmp_path, weights, library, monkeypatch
):
    everything = run(tmp_path / "ws", weights, library, options=ALL_FLAGGED)
    n = len(everything.pairs)
    assert n > 2 and all(pair.flagged for pair in everything.pairs)
    n_listed = n - 3  # of different files; that of the identical files comes on top
    monkeypatch.setattr(auditor.scoring.cosine, "MAX_PAIRS", n_listed)
    found = run(tmp_path / "ws", weights, options=ALL_FLAGGED)
    assert [(p.a, p.b) for p in found.pairs] == [(p.a, p.b) for p in everything.pairs[: n - 2]]
    assert found.threshold.note.startswith(
        f"The best {n_listed} pairs are listed; 2 more score -1 or above."
    )


def similar_pairs(workspace, ids, embeddings, **how):
    """Return the similar pairs of a catalogue that is not stored."""
    reader = CatalogueReader.of(workspace, (ids, embeddings))
    return auditor.scoring.cosine.similar_pairs(
        workspace, ids, embeddings, tiles=LocalTiles(), reader=reader, **how
    )


def test_a_budget_becomes_the_threshold_for_this_number_of_comparisons(workspace, tmp_path):
    def use_of(run, *arguments, **how):
        return run(workspace, *arguments, options=Options(**how)).threshold

    loose = use_of(scan, max_false=0.1)
    assert (loose.threshold, loose.budget) == (THRESHOLD, 0.1)
    strict = use_of(scan, max_false=0.001)
    assert (strict.threshold, strict.note) == (0.999, "")
    beyond = use_of(scan, max_false=1e-4)  # less than one in the calibration's 100,000 pairs
    assert beyond.threshold == 0.999
    assert beyond.expected_high == 0, "at most one in 10,000 of so few pairs"
    assert "small.json has no fitted tail and its lowest rate is 1e-05" in beyond.note
    annoy = use_of(scan, max_false=0.1, search="annoy")
    assert (annoy.threshold, annoy.n_comparisons) == (THRESHOLD, N_PAIRS)
    paths = [write_tune(tmp_path / f"{seed}.wav", seed) for seed in (60, 61)]
    checked = use_of(check, paths)
    assert (checked.budget, checked.n_comparisons) == (0.01, 2 * 6)
    assert checked.threshold == THRESHOLD
    for how in ({"far": 0.1}, {"threshold": 0.9}):
        assert use_of(scan, **how).budget is None
    with pytest.raises(ThresholdError, match="--far and a budget of false pairs cannot"):
        use_of(scan, far=0.1, max_false=1.0)


def test_pairs_of_one_source_are_counted_at_their_own_rate(workspace, tmp_path):
    file = next((workspace.directory / "thresholds").glob("*.json"))
    plain = load_thresholds(file)
    close = RateTable(
        (OperatingPoint(0.5, 0.4, 0.3, 0.5), OperatingPoint(THRESHOLD, 0.1, 0, 0.2)), 9
    )
    save_thresholds(dataclasses.replace(plain, one_source=close), file)
    options = Options(threshold=THRESHOLD)
    tracks = [track for track in workspace.catalogue.tracks() if not track.silent]
    tracks = list({track.sha256: track for track in reversed(tracks)}.values())
    n_close = n_pairs_of_one_source(track_sources(tracks))
    assert 0 < n_close <= N_PAIRS
    use = scan(workspace, options=options).threshold
    assert use.n_one_source == n_close
    expected = 1e-4 * (N_PAIRS - n_close) + 0.1 * n_close
    assert use.expected_false_pairs == pytest.approx(expected)
    path = write_tune(tmp_path / "60.wav", 60)
    assert check(workspace, [path], options=options).threshold.n_one_source == 0, (
        "no tag, no source"
    )


def test_a_scan_of_music_unlike_the_calibration_is_told(workspace, monkeypatch):
    embeddings = np.random.default_rng(0).normal(size=(40, 32)) + 2.0
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    ids = [f"t{i:02}" for i in range(40)]
    options = Options(threshold=0.97)
    use = ThresholdUse(0.97, "by hand", note="As before.")
    histogram = similar_pairs(
        workspace, ids, embeddings.astype(np.float32), threshold=0.97, search="exact"
    ).histogram
    calibrate_by_hand(workspace.directory, workspace.weights_id, threshold=0.6)
    run = open_threshold(workspace, open_scorer(workspace), options)
    said = run.with_music_note(use, histogram, flagged_from=0.97, pairs=()).note
    assert "in the calibration: these tracks are more alike" in said
    assert said.endswith("on it. As before.")
    assert run.with_music_note(use, {}, flagged_from=0.97, pairs=()).note == "As before."


def test_one_track_has_no_pairs(tmp_path, weights):
    path = write_tune(tmp_path / "only.wav", 1)
    for options in (OPTIONS, ANNOY):
        result = run(tmp_path / "ws", weights, path, options=options)
        assert (result.n_tracks, result.n_pairs_compared, result.pairs) == (1, 0, ())


# The index, and its overlay.


def pairs_of(result) -> list:
    return [dataclasses.astuple(pair) for pair in result.pairs]


def test_exact_and_annoy_agree_also_on_what_came_changed_and_left(tmp_path, library, weights):
    music = shutil.copytree(library, tmp_path / "music", copy_function=shutil.copy2)
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        exact = scan(workspace, [music], options=OPTIONS)
        sidecar = workspace.index_directory / f"{workspace.weights_id}.json"
        built = sidecar.read_bytes()
        annoy = scan(workspace, [music], options=ANNOY)
        assert pairs_of(annoy) == pairs_of(exact)
        assert (annoy.clusters, annoy.tracks) == (exact.clusters, exact.tracks)
        assert (annoy.search, annoy.index_recall) == ("annoy", 1.0)
        assert (annoy.n_pairs_compared, annoy.histogram) == (N_PAIRS, {})

        write_tune(music / "new-b.flac", 2)  # came
        write_tune(music / "e.wav", 3)  # changed: now the tune of c.flac
        os.remove(music / "sub" / "a-same.wav")  # left
        exact = scan(workspace, [music], options=OPTIONS)
        annoy = scan(workspace, options=ANNOY)
        assert pairs_of(annoy) == pairs_of(exact)
        names = {track_id: name for name, track_id in ids_by_name(workspace.catalogue).items()}
        assert {frozenset((names[p.a], names[p.b])) for p in exact.pairs} == {
            frozenset(pair)
            for pair in (("b.wav", "new-b.flac"), ("c.flac", "e.wav"), ("a.wav", "a-again.mp3"))
        }
        assert sidecar.read_bytes() == built, "the base was not built anew for three tracks"


def test_a_reader_uses_the_index_and_never_writes_one(tmp_path, reader, library, weights):
    before = {p: p.stat().st_mtime_ns for p in reader.index_directory.iterdir()}
    result = check(reader, [library / "a.wav"], options=ANNOY)
    assert result.index_recall == 1.0
    assert {p: p.stat().st_mtime_ns for p in reader.index_directory.iterdir()} == before
    shutil.copytree(reader.directory, tmp_path / "ws")
    shutil.rmtree(tmp_path / "ws" / "index")
    with open_workspace(tmp_path / "ws", extractor=weights, write=False) as other:
        with pytest.raises(IndexFileError, match=r"index holds no index yet\. Run: audit scan"):
            check(other, [library / "a.wav"], options=ANNOY)
        assert not other.index_directory.exists()
        assert check(other, [library / "a.wav"], options=OPTIONS).pairs


# Check.


def by_submission(result) -> dict[str, list]:
    names = {t.id: os.path.basename(t.path) for t in (*result.submissions, *result.tracks)}
    found: dict[str, list] = {os.path.basename(t.path): [] for t in result.submissions}
    for pair in result.pairs:
        found[names[pair.a]].append((names[pair.b], pair.flagged, pair.identical_file))
    return found


@pytest.mark.parametrize("search", ["exact", "annoy"])
def test_check_compares_and_does_not_add(tmp_path, reader, library, search):
    write_tune(tmp_path / "in" / "a-third.ogg", 1)
    write_tune(tmp_path / "in" / "unknown.wav", 77)
    shutil.copyfile(library / "b.wav", tmp_path / "in" / "b-copy.wav")
    before = reader.catalogue.tracks()
    log = Log()
    options = Options(search=search)
    result = check(reader, [tmp_path / "in"], options=options, on_event=log, command="check")
    assert reader.catalogue.tracks() == before
    assert log.names("embedded") == ["a-third.ogg", "b-copy.wav", "unknown.wav"]
    found = by_submission(result)
    flagged = [hit for hit in found["a-third.ogg"] if hit[1]]
    assert sorted(name for name, _, _ in flagged) == ["a-again.mp3", "a.wav"]
    assert [hit[1] for hit in found["a-third.ogg"]] == [True, True, False]
    assert found["b-copy.wav"][0] == ("b.wav", True, True)
    assert [hit[1:] for hit in found["b-copy.wav"][1:]] == [(False, False)]
    assert [hit[1:] for hit in found["unknown.wav"]] == [(False, False)]
    assert all(t.id.startswith("new-") for t in result.submissions)
    assert (result.n_tracks, result.n_pairs_compared) == (7, 3 * 6)
    assert result.threshold.expected_false_pairs == pytest.approx(18e-4)
    (group,) = result.identical
    assert {t.id for t in result.tracks} == {pair.b for pair in result.pairs} | set(group.tracks)
    assert [p.n_files_b for p in result.pairs if p.b in group.tracks] == [2]
    assert result_from_json(to_json(result)) == result


def test_a_verdict_does_not_depend_on_the_company_of_a_submission(reader, tmp_path):
    copy = write_tune(tmp_path / "copy.ogg", 1)
    others = [write_tune(tmp_path / f"{seed}.wav", seed) for seed in range(70, 76)]

    def said_of_copy(paths, **how):
        result = check(reader, paths, options=Options(max_false=1e-3, **how))
        own = next(t.id for t in result.submissions if t.path.endswith("copy.ogg"))
        (use,) = [use for use in result.thresholds if use.submission == own]
        pairs = [pair for pair in result.pairs if pair.a == own]
        return use, pairs, result.threshold

    alone, of_alone, whole = said_of_copy([copy])
    among, of_among, of_all = said_of_copy([*others, copy])
    assert (among, of_among) == (alone, of_alone)
    assert any(pair.flagged for pair in of_alone)
    assert (alone.n_comparisons, whole.n_comparisons, of_all.n_comparisons) == (6, 6, 42)
    assert of_all.expected_false_pairs == pytest.approx(7 * whole.expected_false_pairs)
    assert of_all.per_submission and of_all.budget == 1e-3
    batch, of_batch, _ = said_of_copy([copy], per_batch=True)
    assert (batch, of_batch) == (alone, of_alone)
    batch, of_batch, use = said_of_copy([*others, copy], per_batch=True)
    assert not use.per_submission
    assert batch.threshold > among.threshold
    assert of_batch != of_among


@pytest.fixture
def tagged(tmp_path, weights):
    """Return a workspace with tunes that have ISRCs, open for writing, and the ids of its files."""
    music = make_library(tmp_path / "tagged")
    for name, number in (("a.wav", 1), ("b.wav", 2), ("c.flac", 3)):
        write_isrc(music / name, number)
    with open_workspace(tmp_path / "tagged-ws", extractor=weights, write=True) as opened:
        calibrate_by_hand(tmp_path / "tagged-ws", opened.weights_id)
        scan(opened, [music], options=OPTIONS)
        yield opened, ids_by_name(opened.catalogue)


def test_identifiers_of_submissions_are_compared_with_the_catalogue(tmp_path, tagged):
    workspace, ids = tagged
    other = write_isrc(write_tune(tmp_path / "in" / "other.mp3", 50), 2)
    copy = write_isrc(write_tune(tmp_path / "in" / "copy.mp3", 1), 9)
    right = write_isrc(write_tune(tmp_path / "in" / "right.mp3", 3), 3)
    result = check(workspace, [other, copy, right], options=OPTIONS)
    mine = {os.path.basename(track.path): track.id for track in result.submissions}
    found = result.identifiers
    assert found.n_tracks == 3
    assert found.shared == (SharedIdentifier(isrc(2), ((mine["other.mp3"],), (ids["b.wav"],))),)
    assert [(d.a, d.b, d.identifiers_a, d.identifiers_b) for d in found.differing] == [
        (mine["copy.mp3"], ids["a.wav"], (isrc(9),), (isrc(1),)),
    ]
    assert ids["b.wav"] in {track.id for track in result.tracks}, "though no pair names it"
    assert result_from_json(to_json(result)) == result

    (own,) = [track.id for track in result.submissions if track.id == mine["other.mp3"]]
    alone = check(workspace, [other], options=OPTIONS)
    assert conflicts_of(found, own).shared == alone.identifiers.shared
    (pair,) = [p for p in result.pairs if p.a == mine["right.mp3"] and p.flagged]
    hashes = [t.sha256 for t in (*result.submissions, *result.tracks) if t.id in (pair.a, pair.b)]
    workspace.catalogue.decide(*hashes, "false-alarm")
    (denied,) = check(workspace, [right], options=OPTIONS).identifiers.shared
    assert (denied.identifier, denied.groups[1]) == (isrc(3), (ids["c.flac"],))


def test_a_track_is_not_held_against_itself_nor_against_what_was_not_compared(tmp_path, tagged):
    workspace, ids = tagged
    tracks = {track.id: track for track in workspace.catalogue.tracks()}
    music = Path(tracks[ids["b.wav"]].path).parent
    write_isrc(music / "b.wav", 1)
    for track_id in (ids["e.wav"], ids["hush.wav"]):
        named = dataclasses.replace(tracks[track_id], identifiers=(isrc(5),))
        workspace.catalogue.update_tags(named)
    (entry,) = check(workspace, [music / "b.wav"], options=OPTIONS).identifiers.shared
    assert (entry.identifier, entry.groups[1:]) == (isrc(1), ((ids["a.wav"],),))
    other = write_isrc(write_tune(tmp_path / "other.mp3", 50), 5)
    (entry,) = check(workspace, [other], options=OPTIONS).identifiers.shared
    assert entry.groups[1:] == ((ids["e.wav"],),), "silence is no other recording"
    with contextlib.closing(sqlite3.connect(workspace.catalogue.path)) as connection:
        connection.execute("UPDATE tracks SET title = 'x' WHERE id = ?", (ids["e.wav"],))
        connection.commit()
    rotten = check(workspace, [other], options=OPTIONS)
    assert rotten.identifiers.shared == ()
    assert [(s.path, s.code) for s in rotten.skipped] == [
        (tracks[ids["e.wav"]].path, "damaged-row")
    ]


def test_a_track_whose_path_the_disk_changed_is_damaged_and_not_missing(tagged):
    workspace, ids = tagged
    before = scan(workspace, options=OPTIONS)
    changed = "UPDATE tracks SET path_bytes = CAST(path_bytes || 'x' AS BLOB) WHERE id = ?"
    with contextlib.closing(sqlite3.connect(workspace.catalogue.path)) as connection, connection:
        connection.execute(changed, (ids["c.flac"],))
    for _ in range(2):
        rotten = scan(workspace, options=OPTIONS)
        assert [(os.path.basename(s.path), s.code) for s in rotten.skipped] == [
            ("c.flac", "damaged-row")
        ]
        assert not any(track.missing for track in rotten.tracks)
    music = Path(rotten.skipped[0].path).parent
    mended = scan(workspace, [music], options=OPTIONS)
    assert (mended.pairs, mended.skipped) == (before.pairs, before.skipped)
    assert workspace.catalogue.verify() == []


def test_a_wide_run_needs_an_extractor_of_excerpts(reader, library):
    with pytest.raises(UsageError, match="--wide needs an extractor that tells what is played"):
        check(reader, [library / "b.wav"], options=Options(wide=True))
    with pytest.raises(UsageError, match="--wide needs an extractor that tells what is played"):
        scan(reader, options=Options(wide=True))


def test_a_threshold_for_a_stated_size_stays_while_the_catalogue_grows(workspace, tmp_path):
    copy = write_tune(tmp_path / "copy.ogg", 1)

    def use_of(**how):
        return check(workspace, [copy], options=Options(max_false=7e-4, **how)).threshold

    before, fixed = use_of(), use_of(catalogue_size=200)
    assert fixed.catalogue_size == 200
    assert fixed.threshold > before.threshold
    assert fixed.expected_false_pairs < 7e-4
    for seed in (80, 81, 82):
        write_tune(tmp_path / "more" / f"{seed}.wav", seed)
    scan(workspace, [tmp_path / "more"])
    assert use_of().threshold > before.threshold
    grown = use_of(catalogue_size=200)
    assert (grown.threshold, grown.note) == (fixed.threshold, fixed.note)
    beyond = use_of(catalogue_size=3)
    assert beyond.note.startswith("The catalogue has 9 tracks and the budget is for 3, so more")


def test_submissions_of_an_artist_in_the_catalogue_have_a_threshold_of_their_own(
    workspace, tmp_path, monkeypatch
):
    file = next((workspace.directory / "thresholds").glob("*.json"))
    plain = load_thresholds(file)
    close = RateTable((OperatingPoint(0.5, 0.4, 0.3, 0.5), OperatingPoint(0.95, 0.05, 0.0, 0.1)), 9)
    save_thresholds(dataclasses.replace(plain, one_source=close), file)
    paths = [write_tune(tmp_path / f"{seed}.wav", seed) for seed in (70, 71)]
    monkeypatch.setattr(
        type(workspace.catalogue),
        "n_of_source",
        lambda _, track: 3 if track.path.endswith("71.wav") else 0,
    )
    result = check(workspace, paths)
    stranger, known = result.thresholds
    assert (stranger.n_one_source, known.n_one_source) == (0, 3)
    assert stranger.threshold < known.threshold == result.threshold.threshold
    assert result.threshold.n_one_source == 3
    by_submission = {use.submission: repr(use.threshold) for use in result.thresholds}
    rows = list(csv.DictReader(to_csv(result).splitlines()))
    assert {row["a_id"]: row["threshold"] for row in rows} == by_submission
    alone = check(workspace, paths[1:]).thresholds
    assert [use.threshold for use in alone] == [known.threshold]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"catalogue_size": 0}, "--catalogue-size is 0; a catalogue has at least 1 track"),
        ({"catalogue_size": 9, "far": 0.1}, "--far sets the threshold without a budget"),
        ({"per_batch": True, "threshold": 0.5}, "--per-batch says what a budget is for"),
    ],
)
def test_options_that_contradict_each_other_are_refused(how, message):
    with pytest.raises(ThresholdError, match=message):
        Options(**how)


def test_scores_of_check_are_those_of_scan(tmp_path, workspace, library):
    shutil.copyfile(library / "sub" / "a-again.mp3", tmp_path / "x.mp3")
    checked = check(workspace, [tmp_path / "x.mp3"], add=True)
    ids = ids_by_name(workspace.catalogue)
    scan_pairs = {(p.a, p.b): p for p in scan(workspace).pairs}
    a, again = ids["a.wav"], ids["a-again.mp3"]
    found = {pair.b: pair for pair in checked.pairs if pair.flagged}
    assert set(found) == {a, again}
    assert found[a].score == scan_pairs[tuple(sorted((a, again)))].score
    same = scan_pairs[again, ids["x.mp3"]]
    assert (same.score, same.identical_file) == (found[again].score, found[again].identical_file)


@pytest.mark.parametrize("search", ["exact", "annoy"])
def test_a_track_of_the_catalogue_is_not_compared_with_itself(reader, library, search, tmp_path):
    options = Options(search=search)
    result = check(reader, [library / "a.wav"], options=options)
    own = ids_by_name(reader.catalogue)["a.wav"]
    assert own not in {pair.b for pair in result.pairs}
    assert result.n_pairs_compared == 6
    found = by_submission(result)["a.wav"]
    assert [hit[0] for hit in found[:2]] == ["a-same.wav", "a-again.mp3"]
    assert [hit[1:] for hit in found] == [(True, True), (True, False), (False, False)]
    os.symlink(library, tmp_path / "link")
    linked = check(reader, [tmp_path / "link" / "a.wav"], options=options)
    assert [p.b for p in linked.pairs] == [p.b for p in result.pairs]


def test_several_submissions_of_the_same_content(tmp_path, reader, library):
    for name in ("x.wav", "y.wav"):
        shutil.copyfile(library / "e.wav", tmp_path / name)
    result = check(reader, [tmp_path / "x.wav", tmp_path / "y.wav"])
    first, second = (track.id for track in result.submissions)
    assert second == f"{first}-2"
    found = by_submission(result)
    assert found["x.wav"] == found["y.wav"]
    assert found["x.wav"][0] == ("e.wav", True, True)


def test_add_takes_the_submissions_in_afterwards(tmp_path, workspace):
    write_tune(tmp_path / "in" / "one.wav", 50)
    write_tune(tmp_path / "in" / "two.flac", 50)
    first = check(workspace, [tmp_path / "in"], add=True)
    assert not any(pair.flagged for pair in first.pairs), "not with each other"
    assert first.n_tracks == 7
    assert {"one.wav", "two.flac"} <= set(ids_by_name(workspace.catalogue))
    second = check(workspace, [tmp_path / "in" / "one.wav"], add=True)
    assert by_submission(second)["one.wav"][0] == ("two.flac", True, False)
    assert len(workspace.catalogue.tracks()) == 10


def test_silent_short_and_broken_submissions_are_told(tmp_path, reader):
    folder = tmp_path / "in"
    write_tune(folder / "good.wav", 1)
    write_tune(folder / "short.wav", 1, duration_s=0.5)
    write_audio(folder / "hush.wav", np.zeros(48_000, np.float32), codec="wav")
    (folder / "bad.mp3").write_bytes(b"no audio" * 99)
    result = check(reader, [folder])
    assert [os.path.basename(t.path) for t in result.submissions] == ["good.wav"]
    assert len(by_submission(result)["good.wav"]) == 3
    assert result.n_pairs_compared == 6
    assert {os.path.basename(s.path): s.code for s in result.skipped} == {
        "short.wav": "too-short",
        "hush.wav": "silent",
        "bad.mp3": "unreadable",
    }
    assert all(len(s.sha256) == 64 and not s.retry for s in result.skipped)
    reasons = {os.path.basename(s.path): s.reason for s in result.skipped}
    assert reasons["short.wav"].startswith("0.50 s of audio; at least")
    assert reasons["bad.mp3"].startswith("is not audio")
    nothing = check(reader, [folder / "bad.mp3", folder / "hush.wav"])
    assert (nothing.pairs, nothing.n_pairs_compared, len(nothing.skipped)) == ((), 0, 2)


def test_an_empty_catalogue_is_filled_by_adding(tmp_path, weights, library):
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        first = check(workspace, [library / "a.wav"], options=OPTIONS, add=True)
        assert (first.n_tracks, first.n_pairs_compared, first.pairs) == (0, 0, ())
        assert headline(first).startswith("Nothing to compare: 1 submission, and no other track")
        page = write_report(first, tmp_path / "first.html")[0].read_text("utf-8")
        assert "Not compared" in page and "holds no other track" in page
        copy = check(workspace, [library / "sub/a-again.mp3"], options=OPTIONS, add=True)
        assert [pair.flagged for pair in copy.pairs] == [True]
        assert compared_with_nothing(copy) == frozenset()
        assert len(workspace.catalogue.table(workspace.weights_id).tracks) == 2


def test_check_refuses(tmp_path, reader, weights, library):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: no audio file was found"):
        check(reader, [tmp_path / "empty"])
    with pytest.raises(UsageError, match="absent does not exist"):
        check(reader, [tmp_path / "absent"])
    with pytest.raises(ValueError, match="add needs write=True"):
        check(reader, [library / "a.wav"], add=True)
    with (
        open_workspace(tmp_path / "ws", extractor=weights, write=True) as empty,
        pytest.raises(CatalogueError, match=r"holds no track .* Run: audit scan DIR"),
    ):
        check(empty, [library / "a.wav"], options=OPTIONS)


# FMA.

TRACKS_CSV = [
    ["", "album", "artist", "set", "track", "track", "track", "track"],
    ["", "title", "name", "subset", "genre_top", "genres", "license", "title"],
    ["track_id", "", "", "", "", "", "", ""],
    ["2", "A Way Of Life", "AWOL", "small", "Hip-Hop", "[21]", "CC BY-NC-SA 3.0", "Food"],
    ["5", "A Way Of Life", "AWOL", "small", "Rock", "[25, 89]", "CC BY 4.0", "This <b>World</b>"],
    ["10", "Constant Hitmaker", "Kurt", "small", "Pop", "[10]", "CC0", "Freeway"],
]
GENRES_CSV = """genre_id,#tracks,parent,title,top_level
10,1,0,Pop,10
12,1,0,Rock,12
21,1,0,Hip-Hop,21
25,1,12,Punk,12
89,1,25,Post-Punk,12
"""


def test_fma_as_a_catalogue(tmp_path, weights):
    metadata = tmp_path / "fma_metadata"
    metadata.mkdir()
    with open(metadata / "tracks.csv", "w", newline="") as file:
        csv.writer(file).writerows(TRACKS_CSV)
    (metadata / "genres.csv").write_text(GENRES_CSV)
    small = tmp_path / "fma_small"
    write_tune(small / "000" / "000002.mp3", 1)
    write_tune(small / "000" / "000005.mp3", 1)
    write_tune(small / "000" / "000010.mp3", 2)
    write_tune(small / "000" / "000099.mp3", 3)  # FMA has no such track
    (small / "README.txt").write_text("not audio")
    shutil.copyfile(small / "000" / "000002.mp3", small / "000" / "000005.mp3")
    result = run(tmp_path / "ws", weights, small, fma=metadata)
    assert (result.n_tracks, result.skipped) == (4, ())
    (pair,) = result.pairs
    assert (pair.a, pair.b, pair.identical_file) == ("000002", "000005", True)
    first, second = result.tracks
    assert (first.title, first.artist, first.album) == ("Food", "AWOL", "A Way Of Life")
    assert (first.licence, first.source) == ("CC BY-NC-SA 3.0", "fma")
    assert (second.genre, second.genres) == ("Rock", ("Rock", "Punk", "Post-Punk"))
    assert second.title == "This <b>World</b>"
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        ids = [track.id for track in workspace.catalogue.tracks()]
        assert ids[:3] == ["000002", "000005", "000010"]
        assert len(ids[3]) == 8
        log = Log()
        again = scan(workspace, [small], options=OPTIONS, fma=metadata, on_event=log)
        assert set(log.outcomes.values()) == {"unchanged"}
        assert facts(again) == facts(result)
        scan(workspace, [small], options=OPTIONS, on_event=log)
        assert set(log.outcomes.values()) == {"unchanged"}, "an id is given once and kept"


# What is not decoded twice, and what is not waited for.


def test_check_uses_what_is_stored_of_an_unchanged_file(tmp_path, workspace, library, monkeypatch):
    fresh = shutil.copyfile(library / "a.wav", tmp_path / "fresh.wav")
    expected = check(workspace, [fresh])
    link = tmp_path / "link"
    link.symlink_to(library, target_is_directory=True)
    monkeypatch.setattr(auditor.ingest.prepare, "embed_file", lambda *a: pytest.fail("decoded"))
    log = Log()
    result = check(workspace, [link / "a.wav"], on_event=log)
    assert log.names("unchanged") == ["a.wav"]
    own = ids_by_name(workspace.catalogue)["a.wav"]
    assert result.submissions == (
        dataclasses.replace(expected.submissions[0], path=str(library / "a.wav")),
    )
    same = ids_by_name(workspace.catalogue)["a-same.wav"]
    assert {p.b: p.score for p in result.pairs} == {
        same if p.b == own else p.b: pytest.approx(p.score, abs=1e-6) for p in expected.pairs
    }


def test_check_decodes_a_file_that_has_changed_since_the_scan(tmp_path, workspace):
    path = write_tune(tmp_path / "music" / "x.wav", 8)
    scan(workspace, [path])
    write_tune(path, 2)
    log = Log()
    result = check(workspace, [path], on_event=log)
    assert log.names("embedded") == ["x.wav"]
    assert ids_by_name(workspace.catalogue)["b.wav"] in {p.b for p in result.pairs if p.flagged}


def test_check_with_add_decodes_each_submission_once(tmp_path, workspace, monkeypatch):
    path = write_tune(tmp_path / "new" / "x.wav", 9)
    (tmp_path / "new" / "x-link.wav").symlink_to(path)
    (other := tmp_path / "links").mkdir()
    (other / "y.wav").symlink_to(write_tune(tmp_path / "y.wav", 8))
    decoded = []
    embed_file = auditor.ingest.prepare.embed_file
    monkeypatch.setattr(
        auditor.ingest.prepare, "embed_file", lambda *a: decoded.append(a[0]) or embed_file(*a)
    )
    check(workspace, [tmp_path / "new", other], add=True)
    assert [os.path.basename(os.path.realpath(p)) for p in decoded] == [b"y.wav", b"x.wav"]
    ids = ids_by_name(workspace.catalogue)
    track = workspace.catalogue.track(ids["x.wav"])
    for name in ("x.wav", "y.wav"):
        assert len(workspace.catalogue.dvectors(ids[name], workspace.weights_id)[0]) > 0
    assert workspace.catalogue.new_id(track.sha256) == f"{track.id}-2", "an id as a scan gives it"
    log = Log()
    scan(workspace, [tmp_path / "new"], on_event=log)
    assert set(log.outcomes.values()) == {"unchanged"}


def test_a_submission_that_changes_before_it_is_added_is_read_again(tmp_path, workspace):
    path = write_tune(tmp_path / "x.wav", 2)

    def change(event):
        write_tune(path, 8, duration_s=4.0)

    check(workspace, [path], add=True, on_event=change)
    track = workspace.catalogue.track(ids_by_name(workspace.catalogue)["x.wav"])
    assert track.duration_s == pytest.approx(4.0, abs=0.01)


def test_a_pipe_given_by_name_is_skipped_and_not_waited_for(tmp_path, workspace):
    os.mkfifo(tmp_path / "fifo.mp3")
    for result in (
        check(workspace, [tmp_path / "fifo.mp3"]),
        scan(workspace, [tmp_path / "fifo.mp3"]),
    ):
        (skipped,) = result.skipped
        assert skipped.path == str(tmp_path / "fifo.mp3")
        assert skipped.reason.startswith("is not a regular file.")
