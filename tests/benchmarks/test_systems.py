"""Tests of our own systems on copies: what is embedded, kept, aligned and normalised."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import systems
from aligned_score import AlignConfig, References, aligned_scores
from copies import ORIGINAL, Job, copy_name, make_copies, write_wav
from evaluation import Scores
from hypothesis import HealthCheck, given
from hypothesis import settings as how_to_check
from hypothesis import strategies as st
from systems import (
    LOWEST_NORMALISED,
    Cohort,
    Embedded,
    Inputs,
    LineTask,
    Settings,
    all_lines,
    follow_lines,
    is_stale,
    normalise,
    normalised,
    our_systems,
)

from auditor.audio import SAMPLE_RATE_HZ
from auditor.errors import UsageError

GRID = AlignConfig(n_tempos=3, n_doublings=2)
LENGTHS = (30, 41, 12)


def draw_dvectors(rng: np.random.Generator, n_windows: int) -> np.ndarray:
    rows = rng.normal(size=(n_windows, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.fixture
def kept(tmp_path):
    """Return places of the d-vectors of four tracks; the last one has none."""
    rng, places = np.random.default_rng(3), []
    for i, n_windows in enumerate((*LENGTHS, 0)):
        dvectors = draw_dvectors(rng, n_windows)
        embedding = dvectors.sum(axis=0).astype(np.float32)
        places.append(tmp_path / "cache" / f"{i}.npz")
        Embedded(embedding, dvectors, np.zeros(n_windows, np.float16)).save(places[-1])
    return places


@pytest.mark.parametrize(("penalty", "contrast"), [(0.8, 0.25), (0.3, 0.0), (1.2, 0.6)])
def test_kept_lines_give_the_aligned_scores_of_any_penalty(kept, penalty, contrast):
    config = replace(GRID, penalty=penalty, contrast=contrast)
    found = follow_lines(LineTask(tuple(kept), tuple(kept), GRID)).scores(
        penalty=penalty, contrast=contrast
    )
    tracks = [Embedded.load(path).dvectors for path in kept[:3]]
    for i, query in enumerate(tracks):  # the third is too short for the longest stretch
        expected = aligned_scores(query, References.of(tracks), config=config)
        np.testing.assert_allclose(found[i, :3], expected, atol=1e-6)
    assert (np.diag(found)[:3] > found[0, 1]).all()


def test_what_has_no_window_scores_lowest(kept):
    lines = follow_lines(LineTask(tuple(kept), tuple(kept), GRID))
    found = lines.scores(penalty=0.8, contrast=0.25)
    assert (found[3] == -1.0).all()
    assert (found[:, 3] == -1.0).all()


def test_lines_are_followed_once_for_all_penalties_and_again_for_new_dvectors(
    kept, tmp_path, monkeypatch
):
    queries = {"eq": kept[:2], "crop10": kept[2:]}
    how = {"cache": tmp_path / "lines", "jobs": 1}
    first = all_lines("val", queries, kept, config=GRID, **how)
    assert {kind: lines.means.shape for kind, lines in first.items()} == {
        "eq": (2, 3, 4),
        "crop10": (2, 3, 4),
    }
    (made,) = (tmp_path / "lines").iterdir()
    monkeypatch.setattr(systems, "follow_lines", lambda task: pytest.fail("followed again"))
    again = all_lines("val", queries, kept, config=replace(GRID, penalty=0.1), **how)
    np.testing.assert_array_equal(again["eq"].means, first["eq"].means)
    later_ns = made.stat().st_mtime_ns + 10**9
    os.utime(kept[0], ns=(later_ns, later_ns))
    with pytest.raises(pytest.fail.Exception, match="followed again"):
        all_lines("val", queries, kept, config=GRID, **how)


def test_a_task_may_hold_fewer_queries_than_a_kind(kept, tmp_path, monkeypatch):
    how = {"config": GRID, "jobs": 1}
    whole = all_lines("a", {"eq": kept}, kept, cache=tmp_path / "a", **how)["eq"]
    monkeypatch.setattr(systems, "QUERIES_A_TASK", 3)
    parts = all_lines("a", {"eq": kept}, kept, cache=tmp_path / "b", **how)["eq"]
    np.testing.assert_array_equal(whole.means, parts.means)
    np.testing.assert_array_equal(whole.spans, parts.spans)


def test_normalised_scores_have_the_known_values():
    scores = np.array([[5.0, 2.0]])
    queries = np.array([[1.0, 3.0, -50.0]])  # of the two highest: mean 2, deviation 1
    references = np.array([[0.0, 2.0, -9.0], [2.0, 6.0, -9.0]])  # 1 and 1; 4 and 2
    np.testing.assert_allclose(
        normalise(scores, queries, references, 2), [[(3.0 + 4.0) / 2, (0.0 - 1.0) / 2]]
    )


@how_to_check(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.floats(-2.0, 2.0), st.floats(0.2, 5.0), st.integers(2, 7), st.integers(0, 100))
def test_normalised_scores_do_not_depend_on_scale(shift, scale, top, seed):
    rng = np.random.default_rng(seed)
    scores, queries, references = (rng.normal(size=s) for s in ((3, 4), (3, 7), (4, 7)))
    expected = normalise(scores, queries, references, top)
    moved = [scale * values + shift for values in (scores, queries, references)]
    np.testing.assert_allclose(normalise(*moved, top), expected, atol=1e-6)


@pytest.mark.parametrize("top", [1, 4])
def test_a_cohort_must_hold_what_is_looked_at(top):
    with pytest.raises(ValueError, match=f"top is {top} of a cohort of 3"):
        normalise(np.zeros((1, 1)), np.zeros((1, 3)), np.zeros((1, 3)), top)


def test_what_cannot_be_scored_stays_lowest_after_normalisation():
    scores = Scores(
        np.array([[1.0, 0.2], [0.2, 1.0]]),
        {"eq": np.array([[0.9, 0.1], [-1.0, -1.0]])},
        {"eq": np.arange(2)},
    )
    cohort = Cohort(
        np.array([[0.1, 0.3], [0.0, 0.2]]), {"eq": np.array([[0.1, 0.2], [-1.0, -1.0]])}
    )
    found = normalised(scores, cohort, 2)
    assert (found.copies["eq"][1] == LOWEST_NORMALISED).all()
    assert found.copies["eq"][0, 0] > found.copies["eq"][0, 1] > LOWEST_NORMALISED


def test_a_file_is_stale_when_its_source_is_newer(tmp_path):
    made, source = tmp_path / "made", tmp_path / "source"
    source.touch()
    assert is_stale(made, [source])
    made.touch()
    os.utime(source, ns=(1, 1))
    assert not is_stale(made, [source])
    os.utime(made, ns=(0, 0))
    assert is_stale(made, [source])


KINDS = ("clipping", "mix")


@pytest.fixture(scope="module")
def copies_of_tunes(tmp_path_factory, make_tune):
    """Return the folder of originals and copies of four tunes; copies of every second."""
    base = tmp_path_factory.mktemp("copies")
    folder = base / "test-90s"
    for kind in (ORIGINAL, *KINDS):
        (folder / kind).mkdir(parents=True)
    for i in range(4):
        write_wav(base / f"{i}.wav", make_tune(i, duration_s=12.0 if i != 1 else 30.0))
    for i in range(4):
        other, kinds = str(base / f"{(i + 2) % 4}.wav"), KINDS if i % 2 == 0 else ()
        make_copies(Job(str(base / f"{i}.wav"), other, copy_name(i), kinds, 90.0, folder))
    return folder


@pytest.fixture
def inputs(copies_of_tunes, tmp_path):
    """Return the inputs of those copies, with a cache of the test's own."""
    return Inputs(copies_of_tunes, 4, KINDS, cache=tmp_path / "dvectors", jobs=1)


@pytest.fixture
def settings(tiny_weights):
    """Return settings with the untrained extractor."""
    return Settings(extractors=(str(tiny_weights),), align=GRID)


def test_copies_are_scored_against_all_originals(inputs, settings):
    found = our_systems(inputs, settings)
    assert list(found) == ["embeddings", "aligned", "both"]
    for scores in found.values():
        assert list(scores.rows) == list(KINDS)
        np.testing.assert_array_equal(scores.rows["mix"], [0, 2])
        assert scores.copies["clipping"].shape == (2, 4)
    np.testing.assert_allclose(np.diag(found["embeddings"].originals), 1.0, atol=1e-5)
    clipped = found["aligned"].copies["clipping"]
    assert (clipped.argmax(axis=1) == [0, 2]).all()
    share, parts = settings.share, (found["embeddings"], found["aligned"])
    mixture = (1.0 - share) * parts[0].copies["mix"] + share * parts[1].copies["mix"]
    np.testing.assert_allclose(found["both"].copies["mix"], mixture, atol=1e-6)


def test_nothing_is_embedded_twice(inputs, settings):
    first = our_systems(inputs, settings)
    kept = {path: path.stat().st_mtime_ns for path in inputs.cache.rglob("*.npz")}
    assert len(kept) == 4 + 2 * 2
    again = our_systems(inputs, settings)
    assert {path: path.stat().st_mtime_ns for path in inputs.cache.rglob("*.npz")} == kept
    np.testing.assert_array_equal(again["both"].originals, first["both"].originals)


def test_a_cohort_adds_normalised_scores(inputs, settings, copies_of_tunes):
    cohort = tuple(copies_of_tunes.parent / f"{i}.wav" for i in range(3))
    found = our_systems(inputs, replace(settings, cohort=cohort, cohort_s=10.0, top=2))
    assert list(found)[3:] == ["embeddings-norm", "aligned-norm", "both-norm"]
    assert np.isfinite(found["both-norm"].copies["mix"]).all()
    assert not np.allclose(found["aligned-norm"].originals, found["aligned"].originals)


def test_a_copy_too_short_to_embed_is_a_miss_and_a_missing_original_a_gap(
    inputs, settings, tmp_path, make_tune, capsys
):
    folder = tmp_path / "val-90s"
    for kind, rows in ((ORIGINAL, (0, 1, 2)), ("clipping", (0, 2, 3))):
        (folder / kind).mkdir(parents=True)
        for i in rows:
            duration_s = 0.3 if (kind, i) == ("clipping", 2) else 12.0
            waveform = make_tune(i, duration_s=12.0)[: round(duration_s * SAMPLE_RATE_HZ)]
            write_wav(folder / kind / copy_name(i), waveform)
    found = our_systems(replace(inputs, folder=folder), settings)
    assert "0.30 s of audio" in capsys.readouterr().err
    for scores in found.values():
        np.testing.assert_array_equal(scores.rows["clipping"], [0, 2])
        np.testing.assert_allclose(scores.copies["clipping"][1, :3], -1.0)
        assert np.isnan(scores.originals[3]).all()
        assert np.isnan(scores.copies["clipping"][:, 3]).all()


def test_copies_that_are_not_there_are_asked_for(inputs, settings, tmp_path):
    with pytest.raises(UsageError, match=r"0 originals .* Run: python benchmarks/copies\.py"):
        our_systems(replace(inputs, folder=tmp_path / "none"), settings)
