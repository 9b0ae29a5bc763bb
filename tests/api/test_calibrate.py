"""Calibration: which tracks count, what is counted of them, and the page that shows it."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_audit import save_small_extractor, write_tune
from tunes import tune

from auditor.api import calibrate
from auditor.api.calibrate import CalibrateOptions
from auditor.audio.decode import write_audio
from auditor.calibration.rates import operating_points
from auditor.calibration.tail import fit_tail
from auditor.calibration.thresholds import (
    load_thresholds,
    save_thresholds,
)
from auditor.errors import AuditError, CatalogueError, UsageError
from auditor.ingest.session import ingest
from auditor.report.html.calibration import render_calibration, write_calibration
from auditor.scoring.base import open_scorer
from auditor.workspace import open_workspace


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory):
    """Return a folder with music in ``a`` and ``ab``, and a workspace that holds it."""
    folder = tmp_path_factory.mktemp("calibrate").resolve()
    for seed, name in enumerate(["a/1.wav", "a/2.wav", "ab/3.wav"]):
        write_tune(folder / name, seed, duration_s=3.0)
    (folder / "link").symlink_to(folder / "a")
    weights = save_small_extractor(folder / "weights")
    with open_workspace(folder / "ws", extractor=weights, write=True) as workspace:
        ingest(workspace, [folder / "a", folder / "ab"])
        yield folder, workspace


@pytest.mark.parametrize(
    ("root", "names"),
    [
        ("a", ["a/1.wav", "a/2.wav"]),
        ("link", ["a/1.wav", "a/2.wav"]),
        ("link/../ab", ["ab/3.wav"]),
        ("a/2.wav", ["a/2.wav"]),
        ("ws", []),
        ("/", ["a/1.wav", "a/2.wav", "ab/3.wav"]),
    ],
)
def test_the_tracks_below_a_folder_are_found_by_any_of_its_names(catalogued, root, names):
    folder, workspace = catalogued
    ids, paths, hashes, sources = calibrate._below(workspace, [folder / root])
    assert paths == [str(folder / name) for name in names]
    assert len(sources) == len(hashes) == len(ids) == len(names)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """Return a calibration of 38 tunes, one of them twice, with copies of two, and its folder."""
    folder = tmp_path_factory.mktemp("many").resolve()
    for seed in range(38):
        write_tune(folder / "music" / f"{seed:02}.wav", seed, duration_s=2.5)
    shutil.copyfile(folder / "music" / "00.wav", folder / "music" / "00-again.wav")
    weights = save_small_extractor(folder / "weights")
    options = CalibrateOptions(n_copies=2, alterations=("mp3-32k", "crop30", "mix"), data="tunes")
    done = []
    with open_workspace(folder / "ws", extractor=weights, write=True) as workspace:
        made = calibrate.calibrate(
            workspace, [folder / "music"], options=options, on_copy=lambda *n: done.append(n)
        )
        yield made, folder, workspace
    assert done == [(0, 6), (3, 6), (6, 6)]


def test_what_is_counted(calibrated):
    made, _, workspace = calibrated
    thresholds = made.thresholds
    assert thresholds.n_tracks == 39
    assert thresholds.n_set_aside_pairs == 1, "the two files of the same bytes"
    assert thresholds.n_nonmatching_pairs == made.nonmatching.size == 39 * 38 // 2 - 1
    _, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
    scores = np.sort((embeddings @ embeddings.T)[np.triu_indices(39, 1)])
    np.testing.assert_allclose(np.sort(made.nonmatching), scores[:-1], atol=1e-6)
    for point in thresholds.operating_points:
        assert point.far == (made.nonmatching >= point.threshold).mean()
    assert thresholds.operating_points[-1].far == 0.0
    assert set(made.matching) == {"mp3-32k", "crop30", "mix"}
    assert all(own.shape == (2,) for own in made.matching.values())
    for recall, own in zip(thresholds.recalls, made.matching.values(), strict=True):
        assert recall.n_found == (own >= thresholds.threshold).sum()
    assert made.matching["mp3-32k"].min() > np.median(made.nonmatching)


def test_the_tail_goes_on_where_the_counts_end(calibrated, tmp_path):
    made, _, _ = calibrated
    thresholds = made.thresholds
    tail = thresholds.tail
    assert tail.n_scores == 740
    assert tail.n_exceedances == (made.nonmatching > tail.threshold).sum() == 37
    assert thresholds.far_at(tail.threshold) == tail.far_at(tail.threshold)
    assert thresholds.far_at(thresholds.threshold)[0] == pytest.approx(1e-4, rel=0.1)
    assert thresholds.far_at(thresholds.threshold)[0] <= 1e-4
    assert load_thresholds(save_thresholds(thresholds, tmp_path / "a.json")) == thresholds


def test_a_calibration_of_the_catalogue_needs_no_folder_and_no_copies(calibrated, tmp_path):
    made, folder, workspace = calibrated
    again = calibrate.calibrate(workspace, options=CalibrateOptions(n_copies=0))
    assert again.thresholds.operating_points == made.thresholds.operating_points
    assert again.thresholds.tail == made.thresholds.tail
    assert (again.matching, again.thresholds.recalls) == ({}, ())
    assert again.thresholds.data == "the catalogue"
    with (
        open_workspace(
            tmp_path / "ws", extractor=next(folder.glob("weights/*")), write=True
        ) as empty,
        pytest.raises(CatalogueError, match="holds no track"),
    ):
        calibrate.calibrate(empty)


def test_an_unknown_alteration_is_refused():
    with pytest.raises(ValueError, match="alterations hold 'louder'; names"):
        CalibrateOptions(alterations=("mp3-32k", "louder"))


def test_the_interval_of_a_count_is_wider_where_one_track_is_near_many():
    rng = np.random.default_rng(0)
    n = 60
    pairs = np.triu(np.ones((n, n), dtype=bool), 1)
    spread = rng.uniform(-1.0, 0.5, (n, n))
    hub = spread.copy()
    high = rng.uniform(0.8, 0.9, n - 1)
    hub[0, 1:] = high
    rows, columns = np.nonzero(pairs)
    chosen = rng.choice(len(rows), n - 1, replace=False)
    spread[rows[chosen], columns[chosen]] = high
    highs = []
    for scores in (hub, spread):
        points = operating_points(scores, pairs)
        highs.append(max(p.far_high for p in points if 0.0 < p.far <= 59 / 1770))
        tailed = operating_points(scores, pairs, tail=fit_tail(scores, pairs, n_bootstrap=10))
        assert {p.far for p in points} - {p.far for p in tailed} == set()
    assert highs[0] > 1.3 * highs[1]


def test_the_page_draws_histogram_tail_and_trade_off(calibrated, tmp_path):
    made, _, _ = calibrated
    given = (made.thresholds, made.nonmatching, made.matching)
    html = render_calibration(*given)
    assert html == render_calibration(*given)
    assert html.count('<svg class="chart"') == 3
    for drawn in re.findall(r'<path class="[\w ]+" d="([^"]*)"', html):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", drawn)]
        assert drawn.startswith("M")
        assert np.isfinite(numbers).all()
        assert max(numbers) <= 720
    assert "fitted to the 37 highest scores of unaltered pairs" in html
    assert "mp3 32 kbit/s" in html
    assert "http://" not in html
    assert "https://" not in html
    assert write_calibration(*given, tmp_path / "page.html").read_text() == html
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(AuditError, match="could not be written"):
        write_calibration(*given, tmp_path / "folder.html")


def test_the_page_without_tail_and_copies_says_so(calibrated):
    made, _, _ = calibrated
    few = dataclasses.replace(made.thresholds, tail=None, recalls=(), data="<b>x</b>")
    html = render_calibration(few, made.nonmatching, {})
    assert html.count('<svg class="chart"') == 2
    assert "Too few unrelated pairs to fit a tail" in html
    assert "<b>x</b>" not in html


def test_pairs_of_one_source_are_counted_apart(tmp_path):
    n_folders, n_each = 6, 12
    for seed in range(n_folders * n_each):
        name = f"{seed // n_each}/{seed:02}.wav"
        write_tune(tmp_path / "music" / name, seed, duration_s=2.5)
    weights = save_small_extractor(tmp_path / "weights")
    with open_workspace(tmp_path / "ws", extractor=weights, write=True) as workspace:
        options = CalibrateOptions(n_copies=0, data="tunes")
        made = calibrate.calibrate(workspace, [tmp_path / "music"], options=options)
    thresholds = made.thresholds
    n_close = n_folders * n_each * (n_each - 1) // 2
    assert thresholds.one_source.n_nonmatching_pairs == len(made.one_source) == n_close
    assert thresholds.n_nonmatching_pairs == len(made.nonmatching) == 72 * 71 // 2 - n_close
    assert thresholds.one_source.tail is not None
    html = render_calibration(
        thresholds, made.nonmatching, made.matching, one_source=made.one_source
    )
    assert html.count('<svg class="chart"') == 3, "histograms and two tails"
    assert "396 unrelated pairs of one source among 72 tracks" in html


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """Return a workspace of 22 tunes, of which one is there twice under another codec."""
    folder = tmp_path_factory.mktemp("aligned").resolve()
    (folder / "music").mkdir()
    for seed in range(21):
        write_audio(folder / "music" / f"{seed:02}.wav", tune(seed, duration_s=14.0), codec="wav")
    hidden = tune(3, duration_s=14.0)
    write_audio(folder / "music" / "hidden.mp3", hidden, codec="mp3", bit_rate=64_000)
    options = CalibrateOptions(n_copies=2, alterations=("mp3-32k", "speed+3"), data="tunes")
    with open_workspace(folder / "ws", extractor="excerpt", write=True) as workspace:
        made = calibrate.calibrate(workspace, [folder / "music"], options=options)
        yield made, folder / "music", workspace


def test_a_copy_that_nobody_listed_is_found_and_set_aside(aligned):
    made, music, _ = aligned
    (found,) = made.confirmed
    assert found[:2] == (str(music / "03.wav"), str(music / "hidden.mp3"))
    assert found[2] >= calibrate.CONFIRMED
    assert made.thresholds.scorer == "match/1"
    assert made.thresholds.n_set_aside_pairs == 1
    assert made.nonmatching.max() < made.matching["mp3-32k"].min()


def test_the_cosine_of_an_extractor_that_aligns_is_calibrated_on_request(aligned, calibrated):
    _, _, workspace = aligned
    options = CalibrateOptions(n_copies=0, score="embedding-cosine")
    made = calibrate.calibrate(workspace, options=options)
    assert made.thresholds.scorer == "cosine/1"
    assert made.confirmed == ()
    embeddings = workspace.catalogue.embeddings(workspace.weights_id)[1]
    highest = np.max((embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)])
    assert made.nonmatching.max() == pytest.approx(highest)
    with pytest.raises(UsageError, match="--score match does not fit the extractor"):
        calibrate.calibrate(calibrated[2], options=CalibrateOptions(score="match"))
    with pytest.raises(ValueError, match="score is 'loud'; one of"):
        CalibrateOptions(score="loud")


def test_the_recall_of_copies_is_told_at_any_threshold(aligned):
    made, _, _ = aligned
    low, high = (made.thresholds.detection(t) for t in (-1.0, 1.01))
    assert [(d.n_found, d.n_copies) for d in low] == [(2, 2), (2, 2)]
    assert [d.n_found for d in high] == [0, 0]
    assert [d.alteration for d in low] == ["mp3 32 kbit/s", "speed +3 %"]
    assert 0.0 < low[0].low < low[0].high == 1.0
    older = dataclasses.replace(
        made.thresholds,
        recalls=tuple(dataclasses.replace(r, scores=()) for r in made.thresholds.recalls),
    )
    assert older.detection(0.5) == ()


def test_decisions_say_which_pairs_are_copies(aligned):
    made, _, workspace = aligned
    sha = {Path(t.path).name: t.sha256 for t in workspace.catalogue.tracks()}
    options = CalibrateOptions(n_copies=0, from_decisions=True)
    workspace.catalogue.decide(sha["01.wav"], sha["02.wav"], "confirmed")
    workspace.catalogue.decide(sha["03.wav"], sha["hidden.mp3"], "false-alarm")
    told = calibrate.calibrate(workspace, options=options)
    assert told.thresholds.n_set_aside_pairs == 1
    assert told.confirmed == ()
    assert told.nonmatching.max() > made.nonmatching.max()  # somebody said so
    (recall,) = told.thresholds.recalls
    assert (recall.alteration, recall.n_copies) == (calibrate.DECIDED_KIND, 1)
    workspace.catalogue.decide(sha["03.wav"], sha["hidden.mp3"], "licensed")
    told = calibrate.calibrate(workspace, options=options)
    assert told.thresholds.n_set_aside_pairs == 2
    assert told.thresholds.recalls[0].n_copies == 2


def test_identifiers_say_which_pairs_are_copies_unless_somebody_denied_it(aligned):
    _, _, workspace = aligned
    tracks = {Path(t.path).name: t for t in workspace.catalogue.tracks()}
    isrc, recording = "isrc:USRC17607839", "mb-recording:b1a9c0e9-d987-4042-ae91-78d6a3267d69"
    for name, identifiers in (
        ("04.wav", (isrc, "iswc:T0345246801")),
        ("05.wav", (isrc, recording)),
        ("06.wav", (recording, "iswc:T0345246801")),
        ("07.wav", ("iswc:T0345246801",)),
    ):
        changed = dataclasses.replace(tracks[name], identifiers=identifiers)
        workspace.catalogue.update_tags(changed)
    options = CalibrateOptions(n_copies=0, from_identifiers=True)
    plain = calibrate.calibrate(workspace, options=CalibrateOptions(n_copies=0))
    told = calibrate.calibrate(workspace, options=options)
    (recall,) = told.thresholds.recalls
    assert (recall.alteration, recall.n_copies, recall.n_found) == (calibrate.IDENTIFIED_KIND, 2, 0)
    # 04, 05 and 06 are one group
    assert told.thresholds.n_set_aside_pairs == plain.thresholds.n_set_aside_pairs + 3
    workspace.catalogue.decide(tracks["05.wav"].sha256, tracks["06.wav"].sha256, "cover")
    told = calibrate.calibrate(workspace, options=options)
    assert told.thresholds.recalls[0].n_copies == 1


def test_of_many_pairs_candidates_and_a_sample_are_counted(aligned, monkeypatch):
    made, _, workspace = aligned
    options = CalibrateOptions(n_copies=0)
    whole = calibrate.calibrate(workspace, options=options)
    assert whole.thresholds.n_stood_for == 0
    assert np.array_equal(np.sort(whole.nonmatching), np.sort(made.nonmatching))
    monkeypatch.setattr(calibrate, "MAX_ALL_PAIRS", 100)
    n_done: list[tuple[int, int]] = []
    efforts: list[calibrate.Effort] = []
    told = calibrate.calibrate(
        workspace,
        options=options,
        on_pair=lambda *n: n_done.append(n),
        on_effort=efforts.append,
    )
    thresholds = told.thresholds
    n_all = 22 * 21 // 2
    n_examined = round(0.2 * n_all) + (n_all - round(0.2 * n_all)) // 8
    (effort,) = efforts
    assert (effort.n_pairs, effort.n_copies, effort.copy_s) == (n_examined, 0, 0.0)
    assert effort.pair_s > 0.0
    assert effort.seconds(2) == pytest.approx(n_examined * effort.pair_s / 2)
    assert n_done[0] == (0, n_examined)
    assert n_done[-1] == (n_examined, n_examined)
    assert thresholds.n_nonmatching_pairs == n_examined - 1  # the hidden copy is found all the same
    assert told.confirmed == whole.confirmed
    assert thresholds.n_stood_for == n_all - 1 == whole.thresholds.n_nonmatching_pairs
    assert len(told.nonmatching) == pytest.approx(n_all, abs=4)
    assert set(told.nonmatching) <= set(whole.nonmatching)
    again = calibrate.calibrate(workspace, options=dataclasses.replace(options, all_pairs=True))
    assert again.thresholds.operating_points == whole.thresholds.operating_points


def test_the_pairs_of_a_matrix_are_those_compared_one_by_one(aligned, monkeypatch):
    _, _, workspace = aligned
    monkeypatch.setattr("auditor.scoring.match.BLOCK_TRACKS", 3)
    ids = [track.id for track in workspace.catalogue.tracks()][:7]
    scorer = open_scorer(workspace)
    scores, evidence = scorer.matrix(ids)
    assert np.array_equal(scores, scores.T)
    for i, a in enumerate(ids):
        for j in range(i + 1, len(ids)):
            one = scorer.pair(scorer.side(a), scorer.side(ids[j]))
            assert scores[i, j] == one.score
            assert evidence.get((a, ids[j])) == (one.evidence if one.evidence.ranges else None)


def test_how_long_copies_will_take_is_measured_on_one_track(aligned):
    _, _, workspace = aligned
    efforts: list[calibrate.Effort] = []
    options = CalibrateOptions(n_copies=2, alterations=("crop30", "speed+3"))
    copied: list[tuple[int, int]] = []
    calibrate.calibrate(
        workspace,
        options=options,
        on_effort=efforts.append,
        on_copy=lambda *n: copied.append(n),
    )
    assert copied == [(0, 4), (2, 4), (4, 4)]
    assert [(effort.n_pairs, effort.n_copies) for effort in efforts] == [(231, 4)]
    assert efforts[0].copy_s > 0.0
    assert efforts[0].seconds(1) > efforts[0].seconds(2) > 4 * efforts[0].copy_s
